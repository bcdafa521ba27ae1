"""``predict``: the theory that fits an architecture, as a tidy table."""

from __future__ import annotations

import pandas as pd

from ..base.quantities import tidy
from ..spec.architecture import Architecture
from ..spec.arguments import architecture
from .exchangeable import predict_pair
from .prediction import Prediction
from .sampled import predict_gram


def predict_profiles(arch: Architecture) -> Prediction:
    """The theory that fits the architecture: the pair theory where tokens are alike, else the
    position-resolved one."""
    if arch.exchangeable:
        return predict_pair(arch)
    return predict_gram(arch)


def predict(arch: Architecture | str) -> pd.DataFrame:
    """Per-layer predictions as a tidy table.

    Args:
        arch: an architecture, or its text form.

    Returns:
        columns placement, scaling, depth, width, tokens, layer, stream, quantity, value, log_value
        (natural), theory ("pair", or "position-resolved" under a mask or with positions), and then se, the
        theory's own standard error (of the logarithm for squared norms). Moments per coordinate, weight
        gradients as squared Frobenius norms; the loss gradient at the model's output has second moment
        1, that of a cross-entropy its own. NaN is what the theory does not predict.

    Raises:
        InputError: something else than an architecture.
        AssumptionError: the architecture is outside the theory's assumptions, or left float64's range.
    """
    arch = architecture(arch)
    prediction = predict_profiles(arch)
    extra = None if prediction.errors is None else {"se": prediction.errors}
    return tidy(arch.labels, prediction.profiles, extra, theory=prediction.theory)
