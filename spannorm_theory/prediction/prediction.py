"""A theory's answer: profiles over layers, and how sure it is of them."""

from __future__ import annotations

from dataclasses import dataclass

from ..base.errors import AssumptionError
from ..base.quantities import Key
from ..gaussian.closed_forms import Array
from ..spec.architecture import Architecture


@dataclass(frozen=True)
class Prediction:
    """Profiles of a theory.

    Attributes:
        profiles: (stream, quantity) to an array over layers.
        theory: "pair" or "position-resolved".
        undecided: for each block, how many rows of attention weights (over heads and tokens of one
            network) are expected to be more than a maximum. Query and key gradients come from these
            alone; where there are few, their mean is carried by rare networks.
        errors: the theory's own standard errors by key, where it samples; else None.
    """

    arch: Architecture
    profiles: dict[Key, Array]
    theory: str
    undecided: Array
    errors: dict[Key, Array] | None = None


def require_exchangeable(arch: Architecture) -> None:
    """Refuse masks and positions, with which tokens are not alike."""
    if not arch.exchangeable:
        raise AssumptionError(
            f"the pair theory needs exchangeable tokens, but with mask={arch.mask!r}, "
            f"positions={arch.positions!r} they are not alike; use the position-resolved theory"
        )
