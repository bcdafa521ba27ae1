"""An architecture: placement, scaling and sizes, as one validated, hashable, printable value."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from html import escape
from importlib import import_module
from itertools import zip_longest
from types import MappingProxyType
from typing import Any

import numpy as np

from ..base import arguments
from ..base.errors import InputError, shown
from ..gaussian.activations import ACTIVATIONS, Activation
from .expressions import over_layers
from .fields import Fields, require_fields
from .graph import Branch, Trace
from .initialisation import matrix_gains
from .net import NormConstants
from .placements import PLACEMENTS, Placement
from .position import Position
from .scalings import SCALINGS
from .text import parse_fields, parse_placement, placement_text, scalar
from .validation import check_fields, check_norms
from .values import TEXTS, plain_values

__all__ = ["Architecture", "parse_placement"]


@dataclass(frozen=True)
class Architecture(Fields):
    """Everything that fixes the law of a randomly initialised stack.

    Args:
        placement: a registered norm placement, with options in brackets if it has any.
        scaling: a registered scaling rule.
        depth: L, number of blocks of one attention and one feed-forward sublayer.
        width, heads, tokens: d, H and n; d must be divisible by H.
        kv_heads: key and value heads, each shared by heads / kv_heads query heads; None for one each.
        mask: "none" (every token sees every token) or "causal".
        window: a token sees itself and window - 1 tokens before it (causal mask only); None for all.
        positions: "none", or "rope" (rotary embedding of queries and keys, base 1e4).
        qk_norm, qkv_norm: normalise queries and keys (and values) over each head, in addition to
            what the placement itself asks for.
        qk_norm_over: "head", or "width": those norms divide by the root mean square over all heads.
        logit_scale: logits are q.k over "sqrt" or "linear" of the head width.
        logit_variance: variance of the attention logits for an input of unit second moment whose
            tokens are uncorrelated, 0 for even attention; None takes what ``init`` gives. Under QK norm the
            square of the temperature that logits are multiplied by.
        activation: a registered activation; gated ones have a third matrix.
        ffn_ratio: hidden width of the feed-forward branch, or of each expert, over d.
        experts: E, feed-forward experts among which a router chooses for each token; 1 is a dense branch.
        top_k: experts that a token is sent to.
        shared_experts: experts that every token is sent to beside them, with gate 1.
        gates: "renormalised" (softmax weights over the chosen experts) or "softmax" (over all experts).
        norm: "rms" or "layer".
        norm_epsilon: added to the mean square under the root in norms of streams and of branches' outputs;
            norms inside a branch (over heads, in front of the last matrix) have none.
        norm_gain: what these norms multiply by, their gain at the start.
        init: "fan-in", "unit-branch" (of each expert), "xavier", or the standard deviation of every weight.
        dropout: rate of inverted dropout on the output of each branch.
        attention_dropout: rate of inverted dropout on attention weights.
        inputs: "gaussian" (tokens of cosine ``input_cosine``), or ids through a Gaussian embedding, drawn
            independently over ``vocabulary`` types by "zipf" (Zipf's law) or "uniform" (all alike).
        input_variance: q of a Gaussian input, or of the embedding as the stack reads it.
        input_cosine: rho of a Gaussian input, in (-1/(tokens - 1), 1).
        position_variance: second moment of learned positions that are added to an embedding of ids.
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

    Raises:
        InputError: a size, name or option that no architecture can have.
    """

    name: str = field(init=False, repr=False, compare=False)
    _options: tuple[tuple[str, Any], ...] = field(init=False, repr=False, compare=False)

    def __new__(cls, *args: Any, **values: Any) -> Architecture:
        """Refuse unknown fields by name, before the dataclass does without."""
        require_fields(values, args, needed=("placement",))
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
        self._set(**check_fields(self, self._branches))
        check_norms(self, lambda: (*self.traces, self.readout))

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
    def nonlinearity(self) -> Activation:
        """The registry entry of the activation."""
        return ACTIVATIONS[self.activation]

    @property
    def exchangeable(self) -> bool:
        """Whether tokens are alike: neither a mask nor positions tell them apart."""
        return self.mask == "none" and self.positions == "none"

    @property
    def special_attention(self) -> bool:
        """Whether attention is more than softmax(mask(Q K^T / sqrt(d_h))) V, or there is dropout."""
        plain = (self.kv_heads, self.positions, self.window, self.logit_scale) == (None, "none", None, "sqrt")
        return not plain or self.dropout + self.attention_dropout > 0

    @property
    def hidden(self) -> int:
        """Hidden width of the feed-forward branch."""
        return round(self.ffn_ratio * self.width)

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
        """Each kind of weight matrix of a block with its shape (inputs, outputs)."""
        d, m = self.width, self.hidden
        shapes = {f"attn.{name}": (d, d) for name in ("query", "key", "value", "output")}
        if self.kv_heads is not None:
            shapes["attn.key"] = shapes["attn.value"] = (d, self.kv_heads * self.head_width)
        shapes["ffn.up"] = (d, m)
        if self.nonlinearity.gated:
            shapes["ffn.gate"] = (d, m)
        shapes["ffn.down"] = (m, d)
        if self.experts > 1:
            shapes["ffn.router"] = (d, self.experts)
        return shapes

    @property
    def learnt(self) -> tuple[str, ...]:
        """All that has a gradient in a block: its weight matrices, and the multipliers that it learns."""
        gains = dict.fromkeys(gain.name for trace in self.traces for gain in trace.gains)
        return (*self.weights, *gains)

    def copies(self, name: str) -> int:
        """Number of a block's matrices that go by ``name``: of those of an expert, one for each."""
        expert = self.experts > 1 and name in ("ffn.up", "ffn.gate", "ffn.down")
        return self.experts + self.shared_experts if expert else 1

    @property
    def base_gains(self) -> dict[str, float]:
        """sigma_W^2 = inputs x variance of an entry, for each matrix, before the scaling rule."""
        product = self.logit_variance
        if product is not None and self.logit_scale == "linear":
            product *= self.head_width
        return matrix_gains(self.init, self.weights, self.nonlinearity, product)

    def logit_factor(self, normed: tuple[str, ...]) -> float:
        """The square of what multiplies q.k over the root of the head width, where the projections ``normed``
        carry a norm: under QK norm the temperature's, else what "linear" divides by."""
        if "query" in normed and self.logit_variance is not None:
            return self.logit_variance
        return 1 / self.head_width if self.logit_scale == "linear" else 1.0

    def block(self, layer: int) -> Trace:
        """The traced definition of block ``layer`` under the scaling rule.

        Raises:
            InputError: no such block.
        """
        layer = arguments.whole("layer", layer, 0, self.depth - 1)
        traces, order = self.wirings
        return traces[order[layer]]

    @property
    def wirings(self) -> tuple[tuple[Trace, ...], tuple[int, ...]]:
        """Every wiring that a block of the stack has, and for each block which it is."""
        definition = self.definition
        positions, order = definition.questions(self.scaling, **self.options).positions(self.depth)
        traces = [self._trace(at) for at in positions]
        places = {trace: i for i, trace in enumerate(dict.fromkeys(traces))}
        which = [places[trace] for trace in traces]  # different answers may give one wiring
        return tuple(places), tuple(map(which.__getitem__, order))

    @property
    def traces(self) -> tuple[Trace, ...]:
        """Every wiring that a block of the stack has."""
        definition = self.definition
        positions = definition.questions(self.scaling, **self.options).different(self.depth)
        return tuple(dict.fromkeys(self._trace(at) for at in positions))

    @property
    def readout(self) -> Trace:
        """The graph from the last block's output to the model's output."""
        return self.definition.trace_readout(self._norms)

    @property
    def _norms(self) -> NormConstants:
        return NormConstants(self.norm_epsilon, self.norm_gain)

    def _trace(self, at: Position) -> Trace:
        return self.definition.trace(self.scaling, norms=self._norms, **at._asdict(), **self.options)

    def _branches(self) -> list[Branch]:
        return [branch for trace in self.traces for branch in trace.branches]

    def expected(self) -> dict[str, Any]:
        """Values of a training monitor before the first step: ``spannorm_theory.expected`` of this."""
        found: dict[str, Any] = import_module(__name__.partition(".")[0]).expected(self)  # as users call it
        return found

    def with_(self, **changes: Any) -> Architecture:
        """A copy with some fields replaced."""
        require_fields(changes)
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; ``Architecture.from_dict`` is its inverse."""
        return {f.name: getattr(self, f.name) for f in fields(Fields)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Architecture:
        """The architecture of a mapping.

        Raises:
            InputError: no mapping, an unknown field, or a value that no architecture has.
        """
        if not isinstance(values, Mapping):
            raise InputError(f"expected the fields of an Architecture by name, got {shown(values)}")
        require_fields(values)
        return cls(**values)

    def __str__(self) -> str:
        """``placement scaling`` and every field that is not its default, as ``field=value``."""
        said = self._said.items()
        words = [f"{key}={value}" for key, value in said if key not in ("placement", "scaling")]
        return " ".join([self.placement.replace(" ", ""), self.scaling, *words])

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

        Raises:
            InputError: no text form of an architecture.
        """
        words = parse_fields(text)
        return cls.from_dict({key: v if key in TEXTS else scalar(v) for key, v in words.items()})

    @property
    def key(self) -> str:
        """A hash of the fields that are not their default, for caches and stores: it is the same in every
        process, and in later versions that have more fields."""
        return hashlib.sha256(repr(sorted(self._said.items())).encode()).hexdigest()[:16]
