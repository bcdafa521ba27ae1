"""Rules of one parameter, as options in brackets."""

from __future__ import annotations

from sympy import Expr, Integer, sqrt

from ...base.arguments import choice
from ..scaling import WEIGHTS, Multipliers, scaling
from .initialisation import matrices, output_projections

#: matrices that a rule may act on
WHERE = ("output", "all")


def acting(on: str, gain: Expr) -> Multipliers:
    """A factor on the output projections, or on all matrices.

    Raises:
        UnknownNameError: ``on`` is neither "output" nor "all".
    """
    where = choice("matrices that the rule acts on", on, WHERE)
    return output_projections(gain) if where == "output" else matrices(WEIGHTS, gain)


@scaling("span-scale-init", title="output projections x c L^(-a)", source="arXiv:2601.22580", year=2026)
def span_scale_init(
    sublayer: str, l: Expr, L: Expr, d: Expr, *, power: float = 0.5, on: str = "output", constant: float = 1.0
) -> Multipliers:
    """Readings of SpanNorm's Scale Init, whose exponent, constant and matrices are not public: attn.output
    and ffn.down (on=output), or every matrix (on=all), x constant L^(-power). At the defaults it is
    depth-scaled-init; the claim spannorm-scale-init-family says which members do what the paper states."""
    return acting(on, constant * L ** (-power))


@scaling("gamma-init", title="std of fan-in^(-gamma)", source="arXiv:2606.17945", year=2026)
def gamma_init(
    sublayer: str, l: Expr, L: Expr, d: Expr, *, gamma: float = 0.6, hidden: float = 4.0
) -> Multipliers:
    """Small initialisation: standard deviation fan-in^(-gamma) in every matrix, gamma above the 1/2 of
    fan-in initialisation. The fan-in of ffn.down is hidden x d, that of all others is taken as d."""
    std = dict.fromkeys(WEIGHTS, d ** (-gamma))
    return Multipliers(std={**std, "ffn.down": (hidden * d) ** (-gamma)})


@scaling("looped-residual", title="branches / sqrt(N L), N loops", source="arXiv:2606.18524", year=2026)
def looped_residual(
    sublayer: str, l: Expr, L: Expr, d: Expr, *, loops: int = 2, constant: float = 1.0
) -> Multipliers:
    """A stack of L/N different blocks that is run N times (unique_blocks = L/N): every branch output
    x constant / (N sqrt(L/N)), L the blocks that are run; updates of one block's visits are correlated, so
    that depth-mup's 1/sqrt(L) is not enough."""
    return Multipliers(branch=constant / sqrt(loops * L))


@scaling("completep", title="branches x (2/L)^a", source="arXiv:2505.01618", year=2025)
def completep(
    sublayer: str, l: Expr, L: Expr, d: Expr, *, alpha: float = 1.0, base: float = 2.0
) -> Multipliers:
    """Every branch output x (base/L)^alpha: at the default alpha = 1 CompleteP with a base of two blocks, at
    1/2 depth-muP with that base."""
    return Multipliers(branch=(base / L) ** alpha)


@scaling("complete-d-p", title="branches x (2/L)^a, per module", source="arXiv:2512.22382", year=2025)
def complete_d_p(
    sublayer: str,
    l: Expr,
    L: Expr,
    d: Expr,
    *,
    alpha: float = 1.0,
    base: float = 2.0,
    attention: float = 1.0,
    ffn: float = 1.0,
) -> Multipliers:
    """Complete(d)P at initialisation: CompleteP's factor, times a multiplier of each kind of branch; what
    else it amends (QK norms, batch, duration) is of learning rates."""
    own = attention if sublayer == "attention" else ffn
    return Multipliers(branch=own * (base / L) ** alpha)


@scaling("esm-c", title="branches / sqrt(L)", source="https://github.com/Biohub/esm/issues/338", year=2026)
def esm_c(sublayer: str, l: Expr, L: Expr, d: Expr, *, as_printed: bool = False) -> Multipliers:
    """ESM C: every branch output x 1/sqrt(L); as_printed=True is the sqrt(L) of its paper, which its authors
    call a misprint."""
    return Multipliers(branch=sqrt(L) if as_printed else Integer(1) / sqrt(L))
