"""An architecture: placement, scaling and sizes, as one validated, hashable, printable value."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from html import escape
from importlib import import_module
from itertools import zip_longest
from types import MappingProxyType
from typing import Any

import numpy as np

from ..base import arguments
from ..base.errors import InputError, shown
from .expressions import over_layers
from .fields import Fields, require_fields
from .graph import Branch, Trace
from .layers import changes_at
from .matrices import Matrices
from .net import NormConstants
from .placements import PLACEMENTS, Placement
from .position import Questions
from .reach import OPEN, Attends, Reach, cycle, reach_of
from .scalings import SCALINGS
from .text import parse_fields, parse_placement, placement_text, scalar
from .validation import check_fields, check_norms, check_shared
from .values import TEXTS, plain_values

__all__ = ["Architecture", "parse_placement"]


@dataclass(frozen=True)
class Architecture(Matrices):
    """Everything that fixes the law of a randomly initialised stack.

    Args:
        placement: a registered norm placement, with options in brackets if it has any.
        scaling: a registered scaling rule, with options in brackets if it has any; "a+b" is both.
        depth: L, number of blocks of one attention and one feed-forward sublayer.
        width, heads, tokens: d, H and n; d must be divisible by H, unless ``head_width`` is given.
        unique_blocks: k, blocks of matrices of their own: block l has those of block l mod k, and the
            gradient of a matrix is the sum over the blocks that have it. None for all different.
        copied: those blocks start with the same numbers and are separate after, each with its own gradient.
        head_width: d_h, coordinates of a head; None for d/H.
        kv_heads: key and value heads, each shared by heads / kv_heads query heads; None for one each.
        latent_queries, latent_keys: coordinates from which queries, or keys and values, are projected: a
            down projection of what attention reads, normed without epsilon; None for that itself.
        mask: "none" (every token sees every token) or "causal".
        window: a token sees itself and window - 1 tokens before it; without a mask as many behind it, too.
            None for all.
        attention_pattern: words "full", "window", "full-nope" and "window-nope" with commas between, cycled
            over the blocks: only those of "window" have the window, and "-nope" have no positions; None for
            blocks that are alike. A placement's ``net.attention(x, window=, positions=)`` comes first; what
            it says of all attention is not to be said here.
        positions: "none", or "rope" (rotary embedding of queries and keys).
        rotary_base: what its slowest frequency is the inverse of, nearly.
        rotary_share: share of each head's coordinates that it rotates.
        qk_norm, qkv_norm: normalise queries and keys (and values) over each head, in addition to
            what the placement itself asks for.
        qk_norm_over: "head", or "width": those norms divide by the root mean square over all heads.
        logit_scale: logits are q.k over "sqrt" or "linear" of the head width, or times a number.
        logit_variance: variance of the attention logits for an input of unit second moment whose
            tokens are uncorrelated, 0 for even attention; None takes what ``init`` gives. Gains of W_q and
            W_k give it; under QK norm, which takes them away, a factor on the logits does, its root.
        sinks: each row of attention weights has one more logit, of 0, whose value is nothing.
        attention_gate: multiply what the output projection of attention reads, behind any norm there, by
            sigmoid(x W_gate).
        activation: a registered activation; gated ones have a third matrix.
        ffn_ratio: hidden width of the feed-forward branch, or of each expert, over d.
        ffn_width: that hidden width itself, which is kept as ``ffn_ratio``.
        experts: E, feed-forward experts among which a router chooses for each token; 1 is a dense branch.
        top_k: experts that a token is sent to.
        shared_experts: experts that every token is sent to beside them, with gate 1.
        gates: "renormalised" (softmax weights over the chosen experts), "softmax" (over all experts), or
            "sigmoid" (sigmoids of the logits over their sum, of the chosen experts).
        router_gain: sigma_W^2 of the router, which is the variance of its logits for an input of unit second
            moment; None takes what ``init`` gives.
        routed_scale: factor on the sum of the chosen experts.
        shared_gate: multiply the sum of the shared experts by the sigmoid of one more projection.
        expert_groups, top_groups: equal groups of experts, and those of them that a token's experts are taken
            from: with the largest logit or, under "sigmoid", the largest sum of two sigmoids.
        dense_layers: the first so many blocks have a dense feed-forward branch in place of experts.
        dense_ffn_width: its hidden width; None for that of an expert.
        norm: "rms" or "layer".
        norm_epsilon: added to the mean square under the root in norms of streams, of branches' outputs, and
            of queries, keys and values; a norm in front of a branch's last matrix has none.
        norm_gain: what norms of streams and of branches' outputs multiply by, their gain at the start.
        init: "fan-in", "unit-branch" (of each expert), "xavier", or the standard deviation of every weight.
        draw: law of the entries of weight matrices, whose variances ``init`` and ``scaling`` say: "normal",
            "truncated" (normal, cut off at 2 of its own standard deviations), "uniform", or "orthogonal"
            (orthogonal rows or columns, whichever are fewer, of equal length).
        dropout: rate of inverted dropout on the output of each branch.
        attention_dropout: rate of inverted dropout on attention weights.
        inputs: "gaussian" (tokens of cosine ``input_cosine``), or ids through a Gaussian embedding, drawn
            independently over ``vocabulary`` types by "zipf" (Zipf's law) or "uniform" (all alike).
        input_variance: q of a Gaussian input, or of the embedding as the stack reads it.
        input_cosine: rho of a Gaussian input, in (-1/(tokens - 1), 1).
        position_variance: second moment of learned positions that are added to an embedding of ids: q_0 is
            the sum of both.
        embedding_multiplier: a number that the embedding's rows are multiplied by, within
            ``input_variance``: the gradient of the embedding is as much larger.
        batch: independent sequences of a step, over whose losses weights receive the gradient of the mean.
            All that is of tokens, their gradients included, is of one sequence and its own loss.
        loss: "probe" (gradient at the output independent N(0, 1)), "mean" (one such row for all
            tokens, as of a mean-pooled output), "last" (at the last token only, sqrt(tokens) times
            N(0, 1)), or "cross-entropy" (mean over tokens, with a random unembedding and labels drawn
            independently from the law of ``inputs``, Zipf's for "gaussian", over ``vocabulary`` types).
        vocabulary: number of types of token ids and of "cross-entropy".
        head_gain: width times the variance of an entry of the unembedding, ``logit_multiplier`` included:
            the second moment of the logits is as many times that of the model's output.
        logit_multiplier: a number that logits are multiplied by, within ``head_gain``: the gradient of the
            unembedding is as much larger.
        logit_cap: a soft cap C of the unembedding's logits z, which become C tanh(z / C); None for none.
        tied_head: whether the unembedding is the embedding's transpose, up to what logits and embedding are
            multiplied by.

    Raises:
        InputError: a size, name or option that no architecture can have.

    Example:
        >>> import spannorm_theory as st
        >>> arch = st.Architecture("span-norm", "depth-scaled-init", depth=24, width=256, heads=4, tokens=32)
        >>> str(arch)
        'span-norm depth-scaled-init depth=24 heads=4 tokens=32'
        >>> arch.with_(mask="causal", positions="rope").exchangeable
        False
        >>> st.Architecture.parse(str(arch)) == arch
        True
    """

    name: str = field(init=False, repr=False, compare=False)
    _options: tuple[tuple[str, Any], ...] = field(init=False, repr=False, compare=False)

    def __new__(cls, *args: Any, **values: Any) -> Architecture:
        """Refuse unknown fields by name, before the dataclass does without."""
        require_fields(values, args, needed=("placement",))
        named = {**dict(zip((f.name for f in fields(Fields)), args, strict=False)), **values}
        if "ffn_ratio" in named and named.get("ffn_width") is not None:
            raise InputError(
                "ffn_width is the hidden width and ffn_ratio its share of width: give one of them, got "
                f"ffn_width={shown(named['ffn_width'])} and ffn_ratio={shown(named['ffn_ratio'])}"
            )
        return super().__new__(cls)

    def __getnewargs__(self) -> tuple[str]:
        return (self.placement,)  # copies and pickles are made of it, and of the state

    def __post_init__(self) -> None:
        name, options = parse_placement(self.placement)
        entry = PLACEMENTS[name]
        merged = entry.check_options(options)
        changed = {key: value for key, value in merged.items() if value != entry.options[key]}
        rule = SCALINGS[self.scaling]
        rule.check(name)
        self._set(placement=placement_text(name, changed), scaling=rule.name, name=name)
        self._set(_options=tuple(merged.items()))
        self._set(**plain_values(self))
        self._set(tempered=self.logit_variance is not None and self._norms_queries)
        self._set(**check_fields(self, self._branches, self._reaches))
        check_norms(self, lambda: (*self.traces, self.readout))
        check_shared(self, lambda: self.traces)

    def _set(self, **values: Any) -> None:
        for key, value in values.items():
            object.__setattr__(self, key, value)

    @property
    def options(self) -> Mapping[str, Any]:
        """The options of the placement, those by default included."""
        return MappingProxyType(dict(self._options))

    @property
    def definition(self) -> Placement:
        """The registry entry of the placement."""
        return PLACEMENTS[self.name]

    @property
    def exchangeable(self) -> bool:
        """Whether all that a token sees is alike: neither mask, window nor positions tell tokens apart,
        and no sink is among them."""
        return self.mask == "none" and not self.sinks and all(seen == Attends() for seen in self.attentions)

    @property
    def attentions(self) -> tuple[Attends, ...]:
        """Every reach that an attention branch of the stack has."""
        branches = (branch for branch in self._branches() if branch.kind == "attention")
        return tuple(dict.fromkeys(map(self.attends, branches)))

    @property
    def narrowest(self) -> int | None:
        """The smallest window of the stack; None where there is none."""
        return min((seen.window for seen in self.attentions if seen.window is not None), default=None)

    @property
    def special_attention(self) -> bool:
        """Whether attention is more than softmax(mask(Q K^T / sqrt(d_h))) V, or there is dropout."""
        own = (self.head_width, self.kv_heads, self.latent_queries, self.latent_keys)
        changed = (self.logit_scale != "sqrt", self.sinks, self.attention_gate)
        plain = own == (None,) * 4 and not any(changed)
        alike = all(seen == Attends() for seen in self.attentions)
        return not (plain and alike) or self.dropout + self.attention_dropout > 0

    @property
    def input_second_moment(self) -> float:
        """q_0, positions and the scaling rule's factor on the embedding included."""
        return sum(self.embedding_moments)

    @property
    def embedding_moments(self) -> tuple[float, float]:
        """Second moments of the tokens' and of the positions' embedding, the scaling rule included."""
        factor = SCALINGS[self.scaling].embedding_factor
        square = float(over_layers(factor, self, np.zeros(1))[0]) ** 2
        return self.input_variance * square, self.position_variance * square

    @property
    def weights(self) -> dict[str, tuple[int, int]]:
        """Each kind of weight matrix of a block with its shape (inputs, outputs), those of gates included."""
        outputs, gates = {"gate": self.width, "token-gate": 1}, [b for b in self._branches() if b.gates]
        return {**super().weights, **{name: (self.width, outputs[b.kind]) for b in gates for name in b.std}}

    @property
    def learnt(self) -> tuple[str, ...]:
        """All that has a gradient in a block: its weight matrices, and the multipliers that it learns."""
        gains = dict.fromkeys(gain.name for trace in self.traces for gain in trace.gains)
        return (*self.weights, *gains)

    def block(self, layer: int) -> Trace:
        """The traced definition of block ``layer`` under the scaling rule.

        Args:
            layer: index of the block, 0 to depth - 1.

        Returns:
            its graph: streams, norms, branches and sums with their coefficients; ``str`` writes it as a
            formula.

        Raises:
            InputError: no such block.

        Example:
            >>> import spannorm_theory as st
            >>> str(st.Architecture("post-norm", depth=2).block(0))
            'norm(norm(x0 + attention(x0)) + ffn(norm(x0 + attention(x0))))'
        """
        layer = arguments.whole("layer", layer, 0, self.depth - 1)
        return self._trace(layer)

    def at(self, layer: int) -> Architecture:
        """The architecture whose blocks all are of the kind that block ``layer`` is.

        Args:
            layer: index of the block, 0 to depth - 1.

        Returns:
            this architecture, unless blocks are of different kinds (``dense_layers``).

        Example:
            >>> import spannorm_theory as st
            >>> arch = st.Architecture("pre-norm", depth=4, experts=4, top_k=2, dense_layers=1)
            >>> arch.at(0).experts, arch.at(1).experts
            (1, 4)
        """
        changes = changes_at(self, layer)
        return self.with_(**dict(changes)) if changes else self

    def _trace(self, layer: int, reach: Reach | None = None) -> Trace:
        at = self._questions.position(layer, self.depth)
        reach = reach_of(self.attention_pattern, layer) if reach is None else reach
        return self.definition.trace(
            self.scaling, norms=self._norms, reach=reach, **at._asdict(), **self.options
        )

    @property
    def _questions(self) -> Questions:
        return self.definition.questions(self.scaling, **self.options)

    @property
    def wirings(self) -> tuple[tuple[tuple[Trace, Architecture], ...], tuple[int, ...]]:
        """Every wiring that a block of the stack has, with the architecture whose fields are the block's, and
        for each block which it is."""
        layers, order = self._questions.blocks(self.depth, cycle(self.attention_pattern))
        traces = list(map(self._trace, layers))
        places = {trace: i for i, trace in enumerate(dict.fromkeys(traces))}
        which = [places[trace] for trace in traces]  # different answers may give one wiring
        blocks = [(which[at], changes_at(self, layer)) for layer, at in enumerate(order)]
        numbers = {block: i for i, block in enumerate(dict.fromkeys(blocks))}
        firsts = map(blocks.index, numbers)
        wirings = tuple((traces[order[layer]], self.at(layer)) for layer in firsts)
        return wirings, tuple(map(numbers.__getitem__, blocks))

    @property
    def traces(self) -> tuple[Trace, ...]:
        """Every wiring that a block of the stack has."""
        layers = self._questions.different(self.depth, cycle(self.attention_pattern))
        return tuple(dict.fromkeys(map(self._trace, layers)))

    @property
    def readout(self) -> Trace:
        """The graph from the last block's output to the model's output."""
        return self.definition.trace_readout(self._norms)

    @property
    def _norms(self) -> NormConstants:
        return NormConstants(self.norm_epsilon, self.norm_gain)

    @property
    def _norms_queries(self) -> bool:
        """Whether all attention norms its queries and keys."""
        return all(self.normed(b) for b in self._branches() if b.kind == "attention")

    def _reaches(self) -> list[Reach]:
        """The reaches that the placement gives its attention."""
        layers = self._questions.different(self.depth, 1)
        traces = [self._trace(layer, OPEN) for layer in layers]
        return [b.reach for trace in traces for b in trace.branches if b.kind == "attention"]

    def _branches(self) -> list[Branch]:
        return [branch for trace in self.traces for branch in trace.branches]

    def expected(self) -> dict[str, Any]:
        """Values of a training monitor before the first step: ``spannorm_theory.expected`` of this.

        Returns:
            a dictionary; its keys are those of :func:`~spannorm_theory.expected`.

        Example:
            >>> import spannorm_theory as st
            >>> sorted(st.Architecture("pre-norm", depth=2).expected())[:3]
            ['architecture', 'branch_share', 'grad_norm']
        """
        found: dict[str, Any] = import_module(__name__.partition(".")[0]).expected(self)  # as users call it
        return found

    def with_(self, **changes: Any) -> Architecture:
        """A copy with some fields replaced.

        Args:
            changes: fields by name, each with its new value.

        Returns:
            a new architecture; ``ffn_width`` replaces ``ffn_ratio``.

        Raises:
            InputError: an unknown field, or a value that no architecture has.

        Example:
            >>> import spannorm_theory as st
            >>> st.Architecture("pre-norm").with_(depth=3).depth
            3
        """
        require_fields(changes)
        values = self.to_dict()
        if changes.get("ffn_width") is not None:
            del values["ffn_ratio"]  # the form in which it is kept
        return Architecture(**{**values, **changes})

    def to_dict(self) -> dict[str, Any]:
        """Plain values; ``Architecture.from_dict`` is its inverse.

        Returns:
            every field by its name: texts, numbers, True or False, and None.

        Example:
            >>> import spannorm_theory as st
            >>> st.Architecture("pre-norm", depth=3).to_dict()["depth"]
            3
        """
        return {f.name: getattr(self, f.name) for f in fields(Fields)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Architecture:
        """The architecture of a mapping.

        Args:
            values: fields by name; those that are missing take their default.

        Returns:
            the architecture.

        Raises:
            InputError: no mapping, an unknown field, or a value that no architecture has.

        Example:
            >>> import spannorm_theory as st
            >>> str(st.Architecture.from_dict({"placement": "pre-norm", "depth": 3}))
            'pre-norm unit depth=3'
        """
        if not isinstance(values, Mapping):
            raise InputError(f"expected the fields of an Architecture by name, got {shown(values)}")
        require_fields(values)
        return cls(**values)

    def __str__(self) -> str:
        """``placement scaling`` and every field that is not its default, as ``field=value``."""
        said = self._said.items()
        words = [f"{key}={value}" for key, value in said if key not in ("placement", "scaling")]
        pair = (text.replace(" ", "") for text in (self.placement, self.scaling))
        return " ".join([*pair, *words])

    @property
    def _said(self) -> dict[str, Any]:
        """The fields that are not their default, by name."""
        defaults = {f.name: f.default for f in fields(Fields)}
        return {name: value for name, value in self.to_dict().items() if value != defaults[name]}

    @property
    def labels(self) -> dict[str, str | int]:
        """The columns that tell architectures apart in a table."""
        return {name: getattr(self, name) for name in ("placement", "scaling", "depth", "width", "tokens")}

    def _repr_html_(self) -> str:
        """The fields in two columns, those that are not the default in bold."""
        defaults = {f.name: f.default for f in fields(Fields)}
        cells = []
        for name, value in self.to_dict().items():
            shown = escape(str(value))
            cells.append(f"<th>{name}</th><td>{shown if value == defaults[name] else f'<b>{shown}</b>'}</td>")
        half = (len(cells) + 1) // 2
        rows = zip_longest(cells[:half], cells[half:], fillvalue="")
        return f"<table>{''.join(f'<tr>{left}{right}</tr>' for left, right in rows)}</table>"

    @classmethod
    def parse(cls, text: str) -> Architecture:
        """The inverse of ``str``.

        Args:
            text: ``placement scaling field=value ...``; scaling and fields may be left out.

        Returns:
            the architecture.

        Raises:
            InputError: no text form of an architecture.

        Example:
            >>> import spannorm_theory as st
            >>> st.Architecture.parse("pre-norm gpt2 depth=24 mask=causal").depth
            24
        """
        return cls.from_dict(said_fields(text))

    @property
    def key(self) -> str:
        """A hash of the fields that are not their default, for caches and stores: it is the same in every
        process, and in later versions that have more fields."""
        return hashlib.sha256(repr(sorted(self._said.items())).encode()).hexdigest()[:16]


def said_fields(text: str) -> dict[str, Any]:
    """The fields that a text form says, by name, with their values.

    Raises:
        InputError: no text form of an architecture.
    """
    return {name: v if name in TEXTS else scalar(v) for name, v in parse_fields(text).items()}
