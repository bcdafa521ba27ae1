"""Drift: a difference of one sign over all layers, which is evidence that no single row carries (T9.12).

Rows of one quantity are correlated over layers, so their z cannot be added. What is averaged over layers is
each network's own contribution to the estimates (its influence): the spread of that average over networks is
the standard error of the mean difference, whatever the correlation.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from ..base.quantities import QUANTITIES, Key
from ..gaussian.closed_forms import Array
from .estimators import influence

#: fewest layers of which a mean says more than its rows; quantities with fewer have no drift
FEWEST_LAYERS = 3


def drift(
    samples: Mapping[Key, Array],
    profiles: Mapping[Key, Array],
    errors: Mapping[Key, Array] | None,
    allowed: Mapping[Key, Array],
    left_out: Mapping[Key, NDArray[np.bool_]],
    false_alarm: float,
) -> pd.DataFrame:
    """Mean difference between estimate and theory over layers, of every stream and quantity.

    Args:
        samples: (networks, layers), profiles, errors and allowances (layers,), logarithms of squared norms.
        errors: the theory's own standard errors, taken as those of one draw at all layers.
        left_out: layers whose rows cannot be tested.
        false_alarm: probability that any of a right theory's quantities is off.
    Returns:
        columns stream, quantity, layers, difference (of squared norms: on the logarithm), se, z, allowance,
        gate.
    """
    networks = len(next(iter(samples.values())))
    threshold = -float(stdtrit(networks - 1, false_alarm / (2 * len(samples))))
    rows = []
    for (stream, quantity), sample in samples.items():
        key = stream, quantity
        center, own = influence(sample, QUANTITIES[quantity].logarithmic)
        known = np.isfinite(center) & np.isfinite(profiles[key]) & ~left_out[key]
        if known.sum() < FEWEST_LAYERS:
            continue
        difference = float((center - profiles[key])[known].mean())
        se = float(own[:, known].mean(axis=1).std(ddof=1) / np.sqrt(networks))
        if errors is not None:
            se = float(np.hypot(se, errors[key][known].mean()))
        room = float(allowed[key][known].mean())
        gate = abs(difference) / (threshold * se + room) if threshold * se + room else 0.0
        rows.append(
            (stream, quantity, int(known.sum()), difference, se, difference / se if se else 0.0, room, gate)
        )
    names = ["stream", "quantity", "layers", "difference", "se", "z", "allowance", "gate"]
    return pd.DataFrame(rows, columns=names)
