"""Rules that multiply branches or norms in the forward pass."""

from __future__ import annotations

from sympy import Expr, Integer, Rational, sqrt

from ..scaling import Multipliers, scaling


@scaling("branch-sqrt-depth", title="branches / sqrt(2L)", source="arXiv:2206.03126", year=2022)
def branch_sqrt_depth(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """Every branch output x 1/sqrt(2L), in the forward pass: 2L is the number of sublayers."""
    return Multipliers(branch=1 / sqrt(2 * L))


@scaling("layer-index", title="branches / sqrt(2(l+1))", source="arXiv:2602.08064", year=2026)
def layer_index(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """Every branch output x 1/sqrt(2(l+1)), l the zero-based block index: the depth scaling of the
    published SiameseNorm code, applied to every write."""
    return Multipliers(branch=1 / sqrt(2 * (l + 1)))


@scaling("depth-mup", title="branches / sqrt(L)", source="arXiv:2310.02244", year=2023)
def depth_mup(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """Depth-muP: every branch output x 1/sqrt(L)."""
    return Multipliers(branch=1 / sqrt(L))


@scaling("spectral-mup", title="branches / L", source="arXiv:2603.00541", year=2026)
def spectral_mup(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """Spectral muP for branches of two or more matrices: every branch output x 1/L."""
    return Multipliers(branch=1 / L)


@scaling(
    "skip-init", title="branches / sqrt(2L), no norm", source="arXiv:2002.10444", year=2020, only=("no-norm",)
)
def skip_init(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """SkipInit at the largest scale that its paper finds trainable, 1/sqrt(2L) for 2L branches. It stands in
    for norms, so it needs a stack without; at scale 0 it is ReZero."""
    return Multipliers(branch=1 / sqrt(2 * L), learnt=True)


@scaling("rezero", title="branches x 0", source="arXiv:2003.04887", year=2020, only=("no-norm",))
def rezero(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """ReZero: a learned factor on every branch, 0 at initialisation. It stands in for norms, so it needs a
    stack without."""
    return Multipliers(branch=Integer(0), learnt=True)


_DEIT = "arXiv:2103.17239"


@scaling("layerscale-18", title="branches x 0.1", source=_DEIT, year=2021)
def layerscale_18(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """LayerScale of stacks of up to 18 blocks: every branch output x 0.1."""
    return Multipliers(branch=Rational(1, 10), learnt=True)


@scaling("layerscale-24", title="branches x 1e-5", source=_DEIT, year=2021)
def layerscale_24(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """LayerScale of stacks of up to 24 blocks: every branch output x 1e-5."""
    return Multipliers(branch=Rational(1, 10**5), learnt=True)


@scaling("layerscale-36", title="branches x 1e-6", source=_DEIT, year=2021)
def layerscale_36(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """LayerScale of deeper stacks: every branch output x 1e-6."""
    return Multipliers(branch=Rational(1, 10**6), learnt=True)


@scaling("lns", title="norms / sqrt(l+1)", source="arXiv:2502.05795", year=2025)
def lns(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """LayerNorm Scaling: the norm in front of every branch x 1/sqrt(l+1), l the zero-based block index."""
    return Multipliers(norm=1 / sqrt(l + 1))
