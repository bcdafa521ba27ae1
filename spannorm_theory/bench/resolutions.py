"""Positions as a coordinate against sampled heads, which judge them where they can run."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from ..base.quantities import QUANTITIES
from ..prediction.positions import declined
from ..prediction.predict import predict_profiles
from ..prediction.sampled import predict_gram
from ..spec.architecture import Architecture
from .accuracy import FEW, TOLERANCES

#: heads sampled in each layer, by the root of which the judge's own error falls
DRAWS = 64

#: a difference that no standard error is meant for
ROUNDING = 1e-12

#: tolerances where those against Monte Carlo are wider: variance, cosine, and the gradient by scaling
TIGHTER = {"variance": 0.01, "token_cosine": 0.01, "grad_variance": 0.02}
UNSCALED_GRADIENT = 0.04


def resolutions(
    archs: Iterable[Architecture],
    draws: int = DRAWS,
    seed: int = 0,
    progress: Callable[[str], object] = lambda line: None,
) -> pd.DataFrame:
    """One row for each architecture, quantity and stream: the worst layer of positions.

    Weight gradients are one row for each architecture, called by the worst matrix. Architectures that
    positions decline, and those whose tokens are alike, have no rows.

    Returns:
        columns placement, scaling, tokens, quantity, stream, layer, positions, sampled, error (positions over
        sampled - 1, of cosines positions - sampled), se (of sampled heads), z, target, met: whether the error
        is within the target or ``FEW`` standard errors.
    """
    rows = []
    for arch in archs:
        if arch.exchangeable or declined(arch):
            continue
        progress(f"resolutions: {arch}")
        smooth, judge = predict_profiles(arch, "positions").profiles, predict_gram(arch, draws, seed)
        assert judge.errors is not None
        for (stream, name), exact in judge.profiles.items():
            if name not in TOLERANCES:
                continue
            log, target = QUANTITIES[name].logarithmic, _target(name, arch.scaling)
            found, se = smooth[stream, name], judge.errors[stream, name]
            off = np.expm1(found - exact) if log else found - exact
            se = np.where(np.abs(off) > ROUNDING, np.fmax(se, ROUNDING), np.nan)
            use = np.fmin(np.abs(off) / target, np.abs(off) / (FEW * se))
            if np.isnan(use).all():  # a quantity that positions leave to sampled heads
                continue
            at = int(np.nanargmax(use))
            number = np.exp if log else np.asarray
            rows.append(
                {
                    "placement": arch.placement,
                    "scaling": arch.scaling,
                    "tokens": arch.tokens,
                    "quantity": name,
                    "stream": stream,
                    "layer": at,
                    "positions": float(number(found[at])),
                    "sampled": float(number(exact[at])),
                    "error": off[at],
                    "se": se[at],
                    "z": off[at] / se[at],
                    "target": target,
                    "met": bool(use[at] <= 1),
                    "use": use[at],
                }
            )
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    group = table["stream"].where(table["quantity"] != "weight_grad_norm", "")
    worst = table.groupby(["placement", "scaling", "tokens", "quantity", group], sort=False)["use"].idxmax()
    return table.loc[worst].drop(columns="use").reset_index(drop=True)


def _target(quantity: str, scaling: str) -> float:
    if quantity == "grad_variance" and scaling == "unit":
        return UNSCALED_GRADIENT
    return TIGHTER.get(quantity, TOLERANCES[quantity])
