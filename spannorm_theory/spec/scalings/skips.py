"""Rules that multiply the skip, for placements whose sum is normed."""

from __future__ import annotations

from sympy import Expr, Rational, log, sqrt

from ..scaling import Multipliers, scaling
from .initialisation import VALUE_PATH, deepnorm_init, matrices

#: placements that norm every sum of a skip and a branch
NORMED_SUMS = ("post-norm", "keel", "parallel-post", "span-norm")


@scaling(
    "deepnorm",
    title="skips x (2L)^(1/4), value path x (8L)^(-1/4)",
    source="arXiv:2203.00555",
    year=2022,
    only=NORMED_SUMS,
)
def deepnorm(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """DeepNorm for a decoder or an encoder of L blocks: skips x (2L)^(1/4), and all weights but queries and
    keys x (8L)^(-1/4) on a Xavier initialisation. It needs a norm after every sum."""
    return Multipliers(skip=(2 * L) ** Rational(1, 4)) * deepnorm_init(sublayer, l, L, d)


@scaling(
    "deepnorm-baseline-code",
    title="skips x 2.828, value path x (8L)^(1/4)",
    source="https://github.com/pixeli99/MixLN",
    year=2024,
    only=NORMED_SUMS,
)
def deepnorm_baseline_code(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """DeepNorm as two later comparisons coded it: the exponent of the gains has the wrong sign, and the
    skip's factor is that of 32 blocks whatever the depth. It needs a norm after every sum."""
    return Multipliers(skip=Rational(2828, 1000)) * matrices(VALUE_PATH, (8 * L) ** Rational(1, 4))


@scaling("keel", title="skips x 2L", source="arXiv:2601.19895", year=2026, only=NORMED_SUMS)
def keel(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """Keel: skips x 2L, the number of sublayers. It needs a norm after every sum."""
    return Multipliers(skip=2 * L)


@scaling(
    "deeploop",
    title="skips x sqrt(2L), value path / sqrt(8L)",
    source="arXiv:2607.13491",
    year=2026,
    only=NORMED_SUMS,
)
def deeploop(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """DeepLoop for a stack of unrolled depth L whose weights are not tied: skips x (2L)^(1/2), all weights
    but queries and keys x (8L)^(-1/2). It needs a norm after every sum."""
    return Multipliers(skip=sqrt(2 * L)) * matrices(VALUE_PATH, 1 / sqrt(8 * L))


@scaling(
    "admin",
    title="skips x sqrt((n+1)/ln(n+1) - 1), n = 2L",
    source="https://github.com/microsoft/admin-torch",
    year=2022,
    only=NORMED_SUMS,
)
def admin(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """Admin's closed form for output changes of order log n: omega^2 = (n+1)/ln(n+1) - 1 on every skip, for
    n = 2L sublayers. It needs a norm after every sum."""
    n = 2 * L
    return Multipliers(skip=sqrt((n + 1) / log(n + 1) - 1))


@scaling(
    "admin-profiled",
    title="skips x sqrt(i), sublayer i",
    source="arXiv:2004.08249",
    year=2020,
    only=NORMED_SUMS,
)
def admin_profiled(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """Admin as the paper profiles it, for branches and an embedding of second moment 1: omega_i^2 is the
    variance of all that sublayer i = 1, 2, ... finds on its skip without norms, i. It needs a norm after
    every sum."""
    return Multipliers(skip=sqrt(2 * l + (1 if sublayer == "attention" else 2)))


@scaling(
    "deepscalelm", title="skips x sqrt(1 - 1/L), branches / sqrt(L)", source="arXiv:2403.09635", year=2024
)
def deepscalelm(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """DeepScaleLM: lambda^2 + beta^2 = 1 with beta^2 = 1/L on branches of unit variance (init="unit-branch"
    gives the feed-forward branch that). Its factor on attention for the tokens' correlation is left out: that
    comes from a recursion of its own."""
    return Multipliers(skip=sqrt(1 - 1 / L), branch=1 / sqrt(L))
