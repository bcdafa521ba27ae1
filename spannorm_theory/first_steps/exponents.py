r"""How the learning rate must fall with depth between depths that networks have (T13.11).

Laws in symbols are limits of many blocks. Between two depths the theory of the step says it in numbers: the
rate of a matrix that moves the output coherently by Theta(1) is the inverse of eta = 1's root mean square,

    D_m(L) = sqrt(C(L)) sum_l s_m(l),

C the coherent change of the output by all matrices and s_m the matrix' share of the decrease, and its
exponent the slope of -ln D_m over ln L.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..base import arguments
from ..base.errors import InputError
from ..base.quantities import OUTPUT
from ..gaussian.closed_forms import Array
from ..spec.architecture import Architecture
from ..spec.arguments import architecture
from .optimisers import Optimiser
from .optimisers import optimiser as optimiser_of
from .rates import rates_of
from .theory import predicted

#: what all matrices at one rate go by
TOGETHER = "all"


def step_exponents(
    arch: Architecture | str,
    optimiser: str | Optimiser = "adam",
    *,
    depths: Sequence[int] = (4, 64),
    epsilon: float | None = None,
) -> dict[str, float]:
    """Powers of the depth with which the learning rate must fall between these depths, by theory.

    ``step_law`` has their limits in symbols. Tokens that align from block to block, and streams that have not
    grown yet, keep real depths away from these.

    Source: docs/theory.md, T13.11.

    Args:
        arch: an architecture, or its text form, whose depth is not read.
        optimiser, epsilon: as of ``first_step``.
        depths: two or more; a line is fitted over the logarithms of more than two.

    Returns:
        the exponent where a matrix alone is moved in every block, by matrix, and of "all" moved at one rate.

    Raises:
        InputError: depths that are no two different positive integers.
        AssumptionError: the step of this architecture is not derived.

    Example:
        >>> import spannorm_theory as st
        >>> arch = "pre-norm depth-scaled-init depth=4 width=64 heads=2 tokens=4"
        >>> round(st.step_exponents(arch, "sign", depths=(4, 16))["ffn.down"], 1)
        -1.0
    """
    arch = architecture(arch)
    rule = optimiser_of(optimiser, epsilon)
    given = [arguments.whole("each of depths", x, 1) for x in arguments.items("depths", depths, "depths")]
    if len(set(given)) < 2:
        raise InputError(f"depths must be at least two different ones, got {given}; take (4, 64)")
    logs = [_logs(arch.with_(depth=depth), rule) for depth in given]
    return {name: -float(np.polyfit(np.log(given), [one[name] for one in logs], 1)[0]) for name in logs[0]}


def _logs(arch: Architecture, rule: Optimiser) -> dict[str, float]:
    """Logarithms of what a rate of one moves the output by, by each matrix and all together."""
    found = predicted(arch, rule, rates_of(arch, 1.0)).profiles
    whole = float(found[OUTPUT, "coherent_change"][0]) / 2
    shares: dict[str, Array] = {name: found[name, "learning_share"] for name in arch.weights}
    with np.errstate(divide="ignore"):
        own = {name: whole + float(np.log(share.sum())) for name, share in shares.items()}
    return {**own, TOGETHER: whole}
