"""How the learning rate must fall with depth in a cell of the atlas (docs/theory.md, T13.11)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..asymptotics.growth import Growth
from ..base.errors import NoClosedForm
from ..derivation.recurrence import Recurrence
from ..first_steps.laws import Gradients
from ..first_steps.optimisers import optimiser
from ..moments.constant_gains import Gains
from .trend import Trend

#: optimisers with laws of their own: under others the depth enters as under adam
RULES = ("adam", "sgd")


@dataclass(frozen=True)
class Rates:
    """Learning rates under which the first step moves the model's output coherently by Theta(1).

    Attributes:
        trends: by optimiser, at aligned tokens, without their constant; empty where there is no law.
        reason: why there is none.
    """

    trends: Mapping[str, Trend] = field(default_factory=dict)
    reason: str = ""


def learning_rates(recurrence: Recurrence, aligned: Gains, laws: Mapping[str, Growth | None]) -> Rates:
    """The rates of stacks whose branches have these gains, one for all matrices of the value path.

    Args:
        laws: those of its stream, which it needs; None where there is none.
    """
    missing = [name for name in ("forward", "ratio") if laws.get(name) is None]
    if missing:
        return Rates(reason=f"no law of {' and '.join(missing)}")
    try:
        gradients = Gradients.of(recurrence).at(aligned)
    except NoClosedForm as error:
        return Rates(reason=str(error))
    powers = {rule: gradients.law(optimiser(rule).kind).at(aligned) for rule in RULES}
    return Rates({rule: Trend(rate=rate, power=power) for rule, (power, rate) in powers.items()})
