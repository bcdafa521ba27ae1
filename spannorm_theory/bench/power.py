"""The power of ``verify``: the smallest errors of a theory that it rejects, by width, depth and networks.

A row is rejected where it is off by more than k standard errors and the allowance of the width; a quantity,
where its mean over layers is off by more than k standard errors of that mean and the mean allowance. The
second sees a theory that is wrong in every layer, the first one that is wrong in a single one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..base.quantities import QUANTITIES
from ..spec.architecture import Architecture
from ..verification.outcome import Verification
from ..verification.verification import verify

#: what is verified, and how
SIZES: dict[str, Any] = {"heads": 8, "tokens": 32}
WIDTHS, DEPTHS, NETWORKS = (128, 512, 2048), (12, 48), (32, 128)


def power(
    archs: Sequence[Architecture], networks: Sequence[int], seed: int, progress: Callable[[str], object]
) -> pd.DataFrame:
    """Smallest errors that are rejected.

    Returns:
        one row for each architecture, number of networks and quantity: placement, scaling, depth, width,
        networks, verdict, quantity, layer and mean, the smallest error of the best-seen layer and of the mean
        over layers: relative for squared norms, else absolute, the least over streams and matrices.
    """
    rows = []
    for arch in archs:
        for count in networks:
            progress(f"power: {arch}, {count} networks")
            result = verify(arch, networks=count, seed=seed, progress=False)
            head = {**arch.labels, "networks": count, "verdict": result.verdict}
            rows += [{**head, **row} for row in _smallest(result)]
    return pd.DataFrame(rows).drop(columns="tokens")


def _smallest(result: Verification) -> list[dict[str, Any]]:
    """The smallest detectable errors of each quantity that is predicted."""
    table = result.table[result.table["verdict"] != "not predicted"]
    by_layer = table.groupby("quantity", sort=False)["detectable"].min()
    drift = result.drift
    least = (drift["difference"].abs() / drift["gate"]).where(drift["gate"] > 0)
    by_mean = least.groupby(drift["quantity"], sort=False).min()
    found = []
    for quantity, layer in by_layer.items():
        mean = float(by_mean.get(quantity, np.nan))
        relative = QUANTITIES[str(quantity)].logarithmic
        found.append({"quantity": quantity, "layer": layer, "mean": np.expm1(mean) if relative else mean})
    return found
