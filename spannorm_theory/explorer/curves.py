"""One design's curves in the form of the page: logarithms of few digits, at the layers that are kept."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base.quantities import INPUT
from ..gaussian.closed_forms import Array
from ..prediction.predict import predict_profiles
from ..spec.architecture import Architecture
from .designs import shown_layers

#: digits behind the point of a natural logarithm: curves are kept to one part in ten thousand
DIGITS = 4

#: distance from rank one below which 1 - cosine is rounding
UNRESOLVED = 1e-14

#: quantities of every stream
OF_STREAMS = ("variance", "grad_variance", "token_cosine")


def curves(arch: Architecture) -> dict[str, Any]:
    """Curves of the theory that fits an architecture; "positions" where tokens are unlike.

    Returns:
        "layers", those of the boundaries between blocks, and "theory", its name; then by quantity and stream
        (or weight matrix) a list of natural logarithms, None where the theory says nothing: of "variance",
        "grad_variance", "rank_collapse" (1 - token cosine, at least ``UNRESOLVED``) and, with one layer less,
        "weight_grad_norm"; and "embedding", the logarithm of the gradient variance at the embedding.

    Raises:
        AssumptionError: no theory holds for it.
    """
    prediction = predict_profiles(arch, "auto" if arch.exchangeable else "positions")
    profiles = prediction.profiles
    layers = shown_layers(arch.depth)
    found: dict[str, Any] = {"layers": layers, "theory": prediction.theory}
    for (stream, quantity), profile in profiles.items():
        if quantity in OF_STREAMS and (stream, quantity) != INPUT:
            name, shown = (
                ("rank_collapse", collapse(profile))
                if quantity == "token_cosine"
                else (
                    quantity,
                    profile,
                )
            )
            found.setdefault(name, {})[stream] = rounded(shown[layers])
        elif quantity == "weight_grad_norm":
            found.setdefault(quantity, {})[stream] = rounded(profile[layers[:-1]])
    embedding = profiles[INPUT if INPUT in profiles else ("0", "grad_variance")]
    found["embedding"] = rounded(embedding[:1])[0]
    return found


def collapse(cosine: Array) -> Array:
    """ln(1 - rho), where a distance that is rounding counts as ``UNRESOLVED``."""
    return np.log(np.maximum(1 - cosine, UNRESOLVED))


def rounded(logs: Array) -> list[float | None]:
    """Logarithms to ``DIGITS`` digits; None where there is none. 0.0 is written as 0."""
    return [round(float(x), DIGITS) + 0.0 if np.isfinite(x) else None for x in logs]
