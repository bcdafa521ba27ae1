"""``predict``: the theory that fits an architecture, as a tidy table."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from ..base.errors import UnknownNameError
from ..base.quantities import tidy
from ..spec.architecture import Architecture
from .exchangeable import predict_pair
from .positions import declined, predict_positions
from .prediction import Prediction
from .sampled import predict_gram

#: the theories by name
THEORIES: dict[str, Callable[[Architecture], Prediction]] = {
    "pair": predict_pair,
    "positions": predict_positions,
    "sampled": predict_gram,
}

#: tokens up to which heads are sampled where tokens are unlike: their Grams have spectra, and take a tenth of
#: a second a block at the most
SAMPLED = 64


def fitting(arch: Architecture) -> str:
    """The name of the theory that fits an architecture: "pair" where tokens are alike; else "sampled" for up
    to ``SAMPLED`` tokens, and "positions" beyond, unless that is declined."""
    if arch.exchangeable:
        return "pair"
    return "sampled" if arch.tokens <= SAMPLED or declined(arch) else "positions"


def predict_profiles(arch: Architecture, theory: str = "auto") -> Prediction:
    """Profiles of a theory, of the one that fits the architecture for "auto".

    Raises:
        UnknownNameError: there is no such theory.
        AssumptionError: the architecture is outside its assumptions, or left float64's range.
    """
    if theory == "auto":
        theory = fitting(arch)
    if theory not in THEORIES:
        raise UnknownNameError("theory", theory, ["auto", *THEORIES])
    return THEORIES[theory](arch)


def predict(arch: Architecture, theory: str = "auto") -> pd.DataFrame:
    """Per-layer predictions as a tidy table.

    Args:
        theory: "pair", for tokens that are alike; "positions", for a causal mask over any number of tokens;
            "sampled", for any mask over few, which samples attention heads; "auto" takes "pair" where it
            holds, then "sampled" up to 64 tokens, then "positions".

    Returns:
        columns placement, scaling, depth, width, tokens, layer, stream, quantity, value, log_value
        (natural), theory (its name), and then se, the theory's own standard error (of the logarithm for
        squared norms), which the pair theory does not have. Moments per coordinate, weight gradients as
        squared Frobenius norms; the loss gradient at the model's output has second moment 1, that of a
        cross-entropy its own. NaN is what the theory does not predict.

    Raises:
        UnknownNameError: there is no such theory.
        AssumptionError: the architecture is outside the theory's assumptions, or left float64's range.
    """
    prediction = predict_profiles(arch, theory)
    extra = None if prediction.errors is None else {"se": prediction.errors}
    return tidy(arch.labels, prediction.profiles, extra, theory=prediction.theory)
