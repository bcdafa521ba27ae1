"""A theory's answer: profiles over layers, and how sure it is of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..base.errors import AssumptionError
from ..base.quantities import Key
from ..gaussian.closed_forms import Array
from ..spec.architecture import Architecture
from .omissions import Omission


@dataclass(frozen=True)
class Prediction:
    """Profiles of a theory.

    Attributes:
        profiles: (stream, quantity) to an array over layers.
        theory: "pair", "positions" or "sampled".
        undecided: for each block, how many rows of attention weights (over heads and tokens of one
            network) are expected to be more than a maximum. Query and key gradients come from these
            alone; where there are few, their mean is carried by rare networks.
        errors: the theory's own standard errors by key, where it samples; else None.
        positions: where tokens are unlike, the positions that ``by_position`` is at, from 1; (positions,).
        by_position: natural logarithm of each position's second moment, by (stream, "variance") and (stream,
            "grad_variance"), (depth + 1, positions).
        position_errors: standard errors of ``by_position``, where the theory samples.
        left_out: what ``profiles`` have no number of (NaN), with the reason, all of it.
    """

    arch: Architecture
    profiles: dict[Key, Array]
    theory: str
    undecided: Array
    errors: dict[Key, Array] | None = None
    positions: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    by_position: dict[Key, Array] = field(default_factory=dict)
    position_errors: dict[Key, Array] = field(default_factory=dict)
    left_out: tuple[Omission, ...] = ()

    def unsaid(self, keys: Collection[Key]) -> list[str]:
        """Lines on what is left out of ``keys``, each with its reason and what to do."""
        kept = [(one, tuple(key for key in one.keys if key in keys)) for one in self.left_out]
        return [str(replace(one, keys=some)) for one, some in kept if some]


def require_exchangeable(arch: Architecture) -> None:
    """Refuse masks, windows and positions, with which tokens are not alike."""
    if not arch.exchangeable:
        windows = [f"window={seen.window}" for seen in arch.attentions if seen.window is not None]
        positions = [f"positions={seen.positions!r}" for seen in arch.attentions if seen.positions != "none"]
        sinks = ["sinks=True"] if arch.sinks else []
        given = dict.fromkeys([f"mask={arch.mask!r}", *windows, *positions, *sinks])
        raise AssumptionError(
            f"the pair theory needs exchangeable tokens, but with {', '.join(given)} they are not alike; use "
            "theory='auto'"
        )
