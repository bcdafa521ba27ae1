"""Norm placements: where the norms of a transformer block sit, each written once.

A definition receives the residual stream (a tuple for several streams) and ``net``
(:class:`spannorm_theory.trace.Net`), and returns the stream after one block of two sublayers.
``net.first`` is true in the first block. ``readout`` turns the stream after the last block into the
output; keyword-only arguments are options of the placement, with their defaults.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sympy import sqrt

from ..errors import InputError, UnknownNameError
from ..registry import Registry
from .scalings import SCALINGS
from .trace import Net, Trace, Value, record

Pair = tuple[Value, Value]
Definition = TypeVar("Definition", bound=Callable[..., Any])


@dataclass(frozen=True)
class Placement:
    """A registered placement: its definition, its readout and where it was published."""

    name: str
    title: str
    source: str
    function: Callable[..., Any]
    readout: Callable[..., Value]
    streams: int = 1
    year: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def doc(self) -> str:
        """The definition's docstring."""
        return (self.function.__doc__ or "").strip()

    def check_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options merged with their defaults; an unknown name or a wrong type is refused."""
        for name, value in options.items():
            if name not in self.options:
                raise UnknownNameError(f"option of {self.name}", name, self.options)
            expected = type(self.options[name])
            if type(value) is not expected:
                raise InputError(f"option {name} of {self.name} must be {expected.__name__}, got {value!r}")
        return {**self.options, **options}

    def trace(self, scaling: str, *, first: bool = False, **options: Any) -> Trace:
        """The graph of one block under a scaling rule."""
        block = record(
            self.function,
            SCALINGS[scaling],
            self.streams,
            first=first,
            options=self.check_options(options),
        )
        if len(block.outputs) != self.streams:
            raise InputError(
                f"the definition of {self.name} takes {self.streams} stream(s) and returns "
                f"{len(block.outputs)}; a block must return as many as it takes"
            )
        return block

    def trace_readout(self) -> Trace:
        """The graph from the last block's output to the model's output."""
        return record(self.readout, SCALINGS["unit"], self.streams)


PLACEMENTS: Registry[Placement] = Registry("placement")


def _raw(x: Value, net: Net) -> Value:
    return x


def _final_norm(x: Value, net: Net) -> Value:
    return net.norm(x)


def placement(
    name: str,
    *,
    title: str,
    source: str,
    year: int | None = None,
    streams: int = 1,
    readout: Callable[..., Value] = _raw,
    replace: bool = False,
) -> Callable[[Definition], Definition]:
    """Register a placement under ``name``; every feature of the toolkit then works on it."""

    def register(function: Definition) -> Definition:
        parameters = inspect.signature(function).parameters.values()
        options = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        if inspect.Parameter.empty in options.values():
            raise InputError(f"every keyword-only option of the placement {name!r} needs a default")
        PLACEMENTS.add(
            Placement(name, title, source, function, readout, streams, year, options), replace=replace
        )
        return function

    return register


@placement("no-norm", title="No norm", source="arXiv:1901.09321", year=2019)
def no_norm(x: Value, net: Net) -> Value:
    """x + F(x) twice."""
    x = net.add(x, net.attention(x))
    return net.add(x, net.ffn(x))


@placement("pre-norm", title="PreNorm", source="arXiv:2002.04745", year=2020, readout=_final_norm)
def pre_norm(x: Value, net: Net) -> Value:
    """x + F(N(x)) twice; a final norm reads out."""
    x = net.add(x, net.attention(net.norm(x)))
    return net.add(x, net.ffn(net.norm(x)))


@placement("post-norm", title="PostNorm", source="arXiv:1706.03762", year=2017)
def post_norm(x: Value, net: Net) -> Value:
    """N(x + F(x)) twice."""
    x = net.norm(net.add(x, net.attention(x)))
    return net.norm(net.add(x, net.ffn(x)))


@placement("span-norm", title="SpanNorm", source="arXiv:2601.22580", year=2026)
def span_norm(x: Value, net: Net) -> Value:
    """y = N(x + attention(x)), then N(x + ffn(y)): the second skip spans the whole block. The first
    block norms what its attention reads; its skips are the raw embedding, as in the public port."""
    y = net.norm(net.add(x, net.attention(net.norm(x) if net.first else x)))
    return net.norm(net.add(x, net.ffn(y)))


@placement("hybrid-norm", title="HybridNorm", source="arXiv:2503.04598", year=2025, readout=_final_norm)
def hybrid_norm(x: Value, net: Net) -> Value:
    """n = N(x + attention_qkv(x)), then n + ffn(n): one norm of the stream per block, and norms on
    queries, keys and values."""
    n = net.norm(net.add(x, net.attention(x, qkv_norm=True)))
    return net.add(n, net.ffn(n))


@placement("hybrid-norm-star", title="HybridNorm*", source="arXiv:2503.04598", year=2025, readout=_final_norm)
def hybrid_norm_star(x: Value, net: Net) -> Value:
    """HybridNorm whose first block is a PreNorm block with QKV norm."""
    if not net.first:
        return hybrid_norm(x, net)
    x = net.add(x, net.attention(net.norm(x), qkv_norm=True))
    return net.add(x, net.ffn(net.norm(x)))


def _bounded_plus_normed(streams: Pair, net: Net) -> Value:
    x, y = streams
    return x + net.norm(y)


@placement(
    "siamese-norm",
    title="SiameseNorm",
    source="arXiv:2602.08064",
    year=2026,
    streams=2,
    readout=_bounded_plus_normed,
)
def siamese_norm(
    streams: Pair, net: Net, *, normalised_input: bool = True, depth_scaling: bool = True
) -> Pair:
    """Algorithm 1, for F = attention, then ffn: o = F(N(x + N(y))); x <- N(x + o/c); y <- y + o.
    c = sqrt(l'+1) with l' the index of the sublayer (2l for attention, 2l+1 for the ffn); whether
    the paper counts sublayers or blocks there could not be established."""
    x, y = streams
    for position, branch in enumerate((net.attention, net.ffn)):
        h = x + net.norm(y)
        o = branch(net.norm(h) if normalised_input else h)
        write = o * (1 / sqrt(2 * net.layer + position + 1)) if depth_scaling else o
        x, y = net.norm(net.add(x, write)), net.add(y, o)
    return x, y


def _norm_of_both_normed(streams: Pair, net: Net) -> Value:
    x, y = streams
    return net.norm(net.norm(x) + net.norm(y))


@placement(
    "siamese-norm-hybrid-pre",
    title="SiameseNorm (code)",
    source="https://github.com/Qwen-Applications/SiameseNorm",
    year=2026,
    streams=2,
    readout=_norm_of_both_normed,
)
def siamese_norm_hybrid_pre(streams: Pair, net: Net) -> Pair:
    """The published code: a HybridNorm stream x and a PreNorm stream y that share their branches;
    what is written to x is divided by c = sqrt(2(l+1)) in both sublayers of a block."""
    x, y = streams
    c = sqrt(2 * (net.layer + 1))
    o = net.attention(x + net.norm(y), qkv_norm=True)
    x, y = net.norm(net.add(x, o * (1 / c))), net.add(y, o)
    o = net.ffn(net.norm(x + net.norm(y)))
    return net.add(x, o * (1 / c)), net.add(y, o)
