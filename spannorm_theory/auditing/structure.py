"""A user's module, looked at and run, and the fields of an architecture that it shows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import gcd
from typing import Any

import torch
from torch import nn

from ..base.callables import calling
from ..base.errors import InputError
from .behaviour import (
    Entrance,
    activation_of,
    entrance,
    has_rotary,
    is_causal,
    with_another_end,
)
from .blocks import Blocks
from .fused import fused_rows
from .inputs import Feed, feed_of
from .matrices import Measured, block_matrices
from .mode import in_mode
from .norms import CalledNorms, NormFacts, norms_of
from .readout import looked_for
from .roles import BlockMatrices, matrices_of
from .sizes import AttentionSizes, attention_sizes
from .stream import cut_of, stream_count
from .tape import Tape

#: relative difference of two passes that may be rounding, of half precision too
SAME = 0.01


@dataclass(frozen=True)
class Structure:
    """A module, looked at and run once.

    Attributes:
        called: paths of the blocks in the order of their calls.
        streams: how many pass the blocks.
        matrices: of each call.
        measured: the matrices of all blocks.
        causal: None where that could not be tried.
        norm_calls: paths of norms in the order of their calls.
        moments: second moment in front of each norm, by its path; the least of its calls.
        bare: whether the readout is what the last block puts out.
    """

    model: nn.Module
    blocks: Blocks
    called: tuple[str, ...]
    width: int
    tokens: int
    streams: int
    sizes: AttentionSizes
    matrices: tuple[BlockMatrices, ...]
    measured: tuple[Measured, ...]
    norms: tuple[NormFacts, ...]
    strange_norms: tuple[str, ...]
    causal: bool | None
    start: Entrance
    norm_calls: tuple[str, ...] = ()
    moments: dict[str, float] = field(default_factory=dict)
    bare: bool = False

    @property
    def roles(self) -> tuple[str, ...]:
        """Every role in the blocks."""
        return tuple(dict.fromkeys(m.role for m in self.measured))

    def first(self, role: str) -> Measured | None:
        """The first matrix of a role."""
        return next((m for m in self.measured if m.role == role), None)

    @property
    def head_width(self) -> int | None:
        """d_h, where the module says it; behind latents, where queries and keys may be wider, that of
        values."""
        output = self.first("attn.output")
        if self.latents and self.sizes.heads and output is not None:
            return output.shape[1] // self.sizes.heads
        return self.sizes.head_width

    @property
    def latents(self) -> dict[str, int]:
        """Ranks of what queries, or keys and values, are projected from, by the field that says it."""
        fields = {"latent_queries": "attn.query_down", "latent_keys": "attn.key_down"}
        found = {name: self.first(role) for name, role in fields.items()}
        return {name: matrix.shape[0] for name, matrix in found.items() if matrix is not None}

    def heads(self, role: str) -> int | None:
        """Heads of queries or keys, by the outputs of their matrix."""
        matrix = self.first(role)
        if self.latents:
            return self.sizes.heads
        if matrix is None or not self.head_width:
            return None
        return matrix.shape[0] // self.head_width

    def norms_within(self, of: str) -> list[NormFacts]:
        """Norms of queries, keys or values in the blocks, not those of what these are projected from."""
        ranks = self.latents.values()
        return [norm for norm in self.norms if norm.of == of and norm.size not in ranks]

    @property
    def stream_norms(self) -> list[NormFacts]:
        """Norms over the width."""
        return [norm for norm in self.norms if norm.of == "stream" and norm.size == self.width]

    @property
    def called_norms(self) -> CalledNorms:
        """The norms over the width, by the blocks that call them."""
        facts = {norm.name: norm for norm in self.norms}
        calls = [name for name in self.norm_calls if any(facts[name] is norm for norm in self.stream_norms)]
        blocks, inside = [], -1
        for path in self.called:
            places = [i for i, name in enumerate(calls) if name.startswith(f"{path}.")]
            inside = max([inside, *places])
            own = places[: len(places) // self.called.count(path)]
            blocks.append(tuple(calls[i].removeprefix(f"{path}.") for i in own))
        behind = tuple(calls[inside + 1 :]) if inside >= 0 else ()
        last, later = ((), bool(behind)) if self.bare else (behind, False)
        return CalledNorms(self.called, tuple(blocks), last, facts, self.moments, self.bare, later)


def looked_at(model: nn.Module, blocks: Blocks, inputs: Any, tokens: int, seed: int) -> Structure:
    """Run a module a few times without gradients, and look at its parts.

    Raises:
        InputError: the module fails on its inputs, two equal passes of it differ, or no stream passes its
            blocks.
    """
    with (
        in_mode(model, False),
        torch.no_grad(),
        calling(model.forward, type(model).__name__, " on its inputs"),
    ):
        feed = feed_of(inputs, model, seed, tokens)
        tape = Tape(blocks)
        norms, strange = norms_of(model, 1)
        passed: list[tuple[str, float]] = []
        with tape.on(model), _moments(model, norms, passed):
            output = feed(model)
        streams = stream_count(tape, blocks)
        cut = cut_of(tape.calls, blocks.first, feed.shape)
        last = cut(tape.calls[-1].after[0])[0].double()
        _require_repeatable(model, feed, blocks, tape)
        end = looked_for(tape, output).tensor
        bare = torch.equal(end.reshape(-1), tape.calls[-1].after[0].reshape(-1).to(end.device))
        other, causal = with_another_end(feed), None
        if other is not None:
            again = Tape(blocks)
            with again.on(model):
                other(model)
            changed = cut(again.calls[-1].after[0])[0].double()
            causal = is_causal(last, changed) if changed.shape == last.shape else None
        start = entrance(model, blocks, inputs, seed, tokens, cut)
        fused = fused_rows(model, blocks, feed)
    moments = {name: min(m for other, m in passed if other == name) for name, _ in passed}
    width = last.shape[-1]
    sizes = attention_sizes(model, blocks.first, width)
    called = tuple(call.path for call in tape.calls)
    modules = dict(blocks.modules)
    matrices = tuple(
        matrices_of(modules[path], width, attention_sizes(model, modules[path], width), fused)
        for path in called
    )
    return Structure(
        model,
        blocks,
        called,
        width,
        last.shape[-2],
        streams,
        sizes,
        matrices,
        tuple(block_matrices(blocks, called, matrices)),
        tuple(norms),
        tuple(strange),
        causal,
        start,
        tuple(name for name, _ in passed),
        moments,
        bare,
    )


def _require_repeatable(model: nn.Module, feed: Feed, blocks: Blocks, tape: Tape) -> None:
    """Refuse a module whose second pass on the same inputs is another one.

    Raises:
        InputError: by how much.
    """
    again = Tape(blocks)
    with again.on(model):
        feed(model)
    one, other = (t.calls[-1].after[0].double() for t in (tape, again))
    if one.shape == other.shape and (apart := float((one - other).norm() / one.norm())) > SAME:
        raise InputError(
            f"two passes of {type(model).__name__} on the same inputs, in evaluation mode, differ by "
            f"{apart:.2g} of the last stream: it draws random numbers, "
            "as by dropout that is always on; turn that off"
        )


def fields_of(s: Structure) -> dict[str, Any]:
    """The fields of an architecture that the module shows; those that it does not are left out."""
    heads, groups = s.heads("attn.query") or s.sizes.heads or 1, s.heads("attn.key")
    values: dict[str, Any] = {
        "depth": len(s.called),
        "width": s.width,
        "heads": heads if s.width % heads == 0 else gcd(s.width, heads),
        "tokens": s.tokens,
        "input_variance": float(f"{s.start.second_moment:.5g}"),
        "input_cosine": float(f"{s.start.cosine:.4g}"),
    }
    if groups not in (None, heads) and groups is not None and heads % groups == 0:
        values["kv_heads"] = groups
    if s.causal is not None:
        values["mask"] = "causal" if s.causal else "none"
    if s.stream_norms:
        values["norm"] = s.stream_norms[0].kind
    if has_rotary(s.model):
        values["positions"] = "rope"
    values |= _ffn(s)
    return values


def _ffn(s: Structure) -> dict[str, Any]:
    values: dict[str, Any] = {}
    router = s.first("ffn.router")
    hidden = [m for m in s.measured if m.role == "ffn.up" and "shared" not in m.name]
    if hidden:
        up = hidden[-1]  # of stacks that begin with dense blocks, an expert's
        values["ffn_ratio"] = up.shape[0] / s.width
    activation = activation_of(s.blocks.modules[-1][1], "ffn.gate" in s.roles)
    if activation is not None:
        values["activation"] = activation
    if router is not None:
        values["experts"] = router.shape[0]
        top_k = _attribute(s, ("num_experts_per_tok", "top_k", "moe_top_k", "num_selected_experts"))
        values |= {} if top_k is None else {"top_k": top_k}
        shared = {
            m.name.rpartition(".")[0] for m in s.measured if "shared" in m.name and m.role == "ffn.down"
        }
        values |= {"shared_experts": 1} if shared else {}
    return values


def _attribute(s: Structure, words: Sequence[str]) -> int | None:
    block = s.blocks.modules[-1][1]
    owners = [*block.modules(), *(getattr(m, "config", None) for m in (*block.modules(), s.model))]
    found = (getattr(owner, word, None) for owner in owners for word in words)
    return next((x for x in found if isinstance(x, int) and not isinstance(x, bool)), None)


def _moments(model: nn.Module, norms: list[NormFacts], kept: list[tuple[str, float]]) -> ExitStack:
    """Names of norms and second moments in front of them, kept in order while the module runs inside."""
    stack = ExitStack()
    for norm in norms:
        module = model.get_submodule(norm.name)

        def hook(module: nn.Module, args: Any, kwargs: Any, name: str = norm.name) -> None:
            given = next((x for x in (*args, *kwargs.values()) if isinstance(x, torch.Tensor)), None)
            if given is not None:
                kept.append((name, float(given.detach().double().square().mean())))

        stack.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
    return stack
