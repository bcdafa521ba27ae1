"""Rows of a verification: the difference of each layer of each quantity, and a word for it (T9.12)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from ..gaussian.closed_forms import Array
from .estimators import log_mean, mean

#: rare events in a whole ensemble below which a mean's standard error is of no use, and its row "rare"
FEWEST_EVENTS = 30

#: relative error of float32: differences up to it, and of what is zero up to its square, are rounding
ROUNDED = 1e-7

#: probability that the rows of a correct theory disagree, and that its drifts do: a tenth of it makes k
#: larger by 0.8 at 32 networks
FALSE_ALARM = 1e-3


def gate_width(networks: int, rows: int) -> float:
    """k: Student's quantile at ``FALSE_ALARM``, two-sided and shared by all rows."""
    return -float(stdtrit(networks - 1, FALSE_ALARM / (2 * rows)))


def judge(
    sample: Array,
    theory: Array,
    own: Array | None,
    threshold: float,
    allowed: Array,
    logarithmic: bool,
    least: Array | float = -np.inf,
) -> dict[str, Array]:
    """Columns of one quantity's rows by name, each (layers,).

    Args:
        sample: values of each network, (networks, layers); squared norms by their logarithms.
        theory, own: prediction and its standard error, (layers,), likewise.
        threshold: k.
        allowed: allowance, (layers,).
        least: logarithms up to which a squared norm is zero but for rounding.
    """
    center, error = log_mean(sample) if logarithmic else mean(sample)
    if own is not None:
        error = np.hypot(error, own)
    # gradients that are zero in theory and in every network have no logarithm
    nothing = np.isneginf(theory) & (sample <= least).all(axis=0)
    center, error = np.where(nothing, -np.inf, center), np.where(nothing, 0.0, error)
    room = threshold * error + allowed
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        # a theory of zero against something else is no number, and fails
        difference = np.where(nothing, 0.0, center - theory)
        value = np.exp(center) if logarithmic else center
        scale = np.where(theory == 0, np.nan, np.abs(theory))
        rounding = ROUNDED if logarithmic else ROUNDED * np.abs(theory) + ROUNDED**2
        return {
            "estimate": value,
            "se": value * error if logarithmic else error,
            # what float32 rounds away is no difference, however alike networks are
            "z": np.where((error > 0) & (np.abs(difference) > rounding), difference / error, 0.0),
            "relative_error": np.expm1(difference) if logarithmic else difference / scale,
            "allowance": allowed,
            "gate": np.abs(difference) / room,
            "detectable": np.expm1(room) if logarithmic else room,
        }


def verdicts(table: pd.DataFrame, undecided: Array, threshold: float) -> Any:
    """Verdict of each row; ``undecided`` is how many attention rows of the whole ensemble are more than a
    maximum in each block, (depth,)."""
    # gradients at layer l pass every block above it
    events = np.append(np.minimum.accumulate(undecided[::-1])[::-1], np.inf)[table["layer"]]
    gradient = table["quantity"].isin(["grad_variance", "grad_token_cosine", "weight_grad_norm"])
    outside = table["outside"] > 0
    rare = gradient & (events < FEWEST_EVENTS)
    # a gate that is no number must not pass
    off, beyond = ~(table["gate"] <= 1), table["z"].abs() > threshold
    conditions = [table["theory"].isna(), rare, off, outside, beyond]
    names = ["not predicted", "rare", "off", "out of bounds", "within width"]
    return np.select(conditions, names, default="ok")
