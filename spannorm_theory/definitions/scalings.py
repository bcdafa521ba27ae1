"""Scaling rules: how skips, branches and weights are scaled with depth.

A rule is one function of (sublayer, l, L, d) that returns :class:`Multipliers`, sympy expressions
that every reader evaluates. ``sublayer`` is ``"attention"`` or ``"ffn"``, l the zero-based block
index, L the number of blocks (two sublayers each), d the width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sympy import Expr, Integer, sqrt

from .. import symbols
from ..errors import InputError
from ..registry import Registry

ONE = Integer(1)
WEIGHTS = (
    "attn.query",
    "attn.key",
    "attn.value",
    "attn.output",
    "ffn.up",
    "ffn.gate",
    "ffn.down",
)


@dataclass(frozen=True)
class Multipliers:
    """What a rule does at one sublayer: ``skip * x + branch * F(x)``, and for each weight matrix
    named in ``gains`` a factor on the standard deviation of its entries."""

    skip: Expr = ONE
    branch: Expr = ONE
    gains: Mapping[str, Expr] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = set(self.gains) - set(WEIGHTS)
        if unknown:
            raise InputError(f"no weight matrix is called {sorted(unknown)}; the matrices are {WEIGHTS}")


@dataclass(frozen=True)
class ScalingRule:
    """A registered scaling rule."""

    name: str
    title: str
    source: str
    function: Callable[[str, Expr, Expr, Expr], Multipliers]
    year: int | None = None

    def multipliers(self, sublayer: str) -> Multipliers:
        """The rule's expressions for ``sublayer``, in the symbols (l, L, d)."""
        return self.function(sublayer, symbols.layer, symbols.depth, symbols.width)

    @property
    def doc(self) -> str:
        """The definition's docstring."""
        return (self.function.__doc__ or "").strip()


SCALINGS: Registry[ScalingRule] = Registry("scaling rule")


def scaling(
    name: str, *, title: str, source: str, year: int | None = None, replace: bool = False
) -> Callable[[Callable[..., Multipliers]], Callable[..., Multipliers]]:
    """Register a scaling rule under ``name``."""

    def register(function: Callable[..., Multipliers]) -> Callable[..., Multipliers]:
        SCALINGS.add(ScalingRule(name, title, source, function, year), replace=replace)
        return function

    return register


def _output_projections(gain: Expr) -> Multipliers:
    return Multipliers(gains={"attn.output": gain, "ffn.down": gain})


@scaling("unit", title="no scaling", source="arXiv:1706.03762", year=2017)
def unit(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """Every multiplier is one."""
    return Multipliers()


@scaling("gpt2", title="output projections / sqrt(2L)", source="GPT-2 (Radford et al., 2019)", year=2019)
def gpt2(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """Output projections (attn.output, ffn.down) x 1/sqrt(2L): the variance that all 2L branches add
    together does not depend on depth. Also Megatron's scaled initialisation."""
    return _output_projections(1 / sqrt(2 * L))


@scaling("depth-scaled-init", title="output projections / sqrt(L)", source="arXiv:2601.22580", year=2026)
def depth_scaled_init(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """Output projections (attn.output, ffn.down) x 1/sqrt(L): a reading of SpanNorm's Scale Init.

    Known of the original: it is an initialisation rule that depends on depth, derived by controlling
    the variance of each residual branch, and training collapses without it. Not known: its exponent,
    its constant, and which matrices it touches. The exponent here is inferred, since a branch variance
    proportional to 1/L is the rate at which the identity path's gain stays bounded; the constant 1 is
    a choice."""
    return _output_projections(1 / sqrt(L))


@scaling("branch-sqrt-depth", title="branches / sqrt(2L)", source="arXiv:2206.03126", year=2022)
def branch_sqrt_depth(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """Every branch output x 1/sqrt(2L), in the forward pass: 2L is the number of sublayers."""
    return Multipliers(branch=1 / sqrt(2 * L))


@scaling("layer-index", title="branches / sqrt(2(l+1))", source="arXiv:2602.08064", year=2026)
def layer_index(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """Every branch output x 1/sqrt(2(l+1)), l the zero-based block index: the depth scaling of the
    published SiameseNorm code, applied to every write."""
    return Multipliers(branch=1 / sqrt(2 * (l + 1)))
