"""Every theory against Monte Carlo: the worst layer of every quantity, and whether its target is met.

A layer meets its target when the theory is within the target's tolerance or within ``FEW`` standard
errors. The worst layer is the one furthest from that. Means over networks are Cox' estimates for squared
norms, as in :mod:`spannorm_theory.verification.verification`; their geometric mean stands beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from ..base.quantities import QUANTITIES
from ..montecarlo.ensemble import Ensemble, simulate
from ..prediction.positions import declined
from ..prediction.predict import predict_profiles
from ..prediction.prediction import Prediction
from ..spec.architecture import Architecture
from ..verification.verification import compare, precision

PLACEMENTS = ("pre-norm", "post-norm", "span-norm", "hybrid-norm", "siamese-norm")
SCALINGS = ("unit", "depth-scaled-init")

#: sizes of the standard cases, and networks, by the root of which standard errors fall
SIZES = {"width": 1024, "heads": 16, "tokens": 64, "depth": 48}
NETWORKS = 64

#: standard errors within which any difference is accepted
FEW = 4.0

#: tolerances of each quantity: relative, and absolute for cosines
TOLERANCES = {
    "variance": 0.02,
    "token_cosine": 0.015,
    "grad_variance": 0.05,
    "grad_token_cosine": 0.03,
    "weight_grad_norm": 0.10,
}
#: the tolerance of the gradient variance where branches are not scaled with depth
UNSCALED_GRADIENT = 0.10


def tolerance(quantity: str, scaling: str) -> float:
    """The error that a theory may have of a quantity."""
    if quantity == "grad_variance" and scaling == "unit":
        return UNSCALED_GRADIENT
    return TOLERANCES[quantity]


def cases(
    placements: Sequence[str] = PLACEMENTS,
    scalings: Sequence[str] = SCALINGS,
    masks: Sequence[str] = ("none",),
    **sizes: Any,
) -> list[Architecture]:
    """Every combination, at the standard sizes where ``sizes`` does not say otherwise."""
    return [
        Architecture(placement, scaling, mask=mask, **{**SIZES, **sizes})
        for mask, placement, scaling in product(masks, placements, scalings)
    ]


def predictions(arch: Architecture) -> dict[str, Prediction]:
    """The prediction of each theory of an architecture, by name: positions where its tokens are unlike."""
    quick = ["pair"] if arch.exchangeable else ["positions"] * (not declined(arch))
    names = [*quick, "sampled"]
    return {name: predict_profiles(arch, name) for name in names}


def accuracy(
    archs: Iterable[Architecture],
    networks: int = NETWORKS,
    seed: int = 0,
    progress: Callable[[str], object] = lambda line: None,
) -> pd.DataFrame:
    """One row for each architecture, theory, quantity and stream: its worst layer.

    Weight gradients are one row for each architecture: that of the worst matrix, called by ``stream``.

    Returns:
        columns placement, scaling, mask, theory, quantity, stream, layer, predicted, estimate, geometric
        (NaN for cosines), error (relative, for cosines absolute), se (alike), z, target, met.
    """
    frames = []
    for arch in archs:
        progress(f"accuracy: {arch}")
        dtype = precision(predict_profiles(arch))
        ensemble = simulate(arch, networks=networks, seed=seed, dtype=dtype, progress=False)
        frames += list(judged(ensemble))
    return pd.concat(frames, ignore_index=True)


def judged(ensemble: Ensemble) -> Iterator[pd.DataFrame]:
    """The rows of :func:`accuracy` for each theory of an ensemble that was already simulated."""
    arch = ensemble.arch
    for prediction in predictions(arch).values():
        rows = errors(prediction, ensemble)
        rows = rows[rows["quantity"].isin(TOLERANCES)]
        rows = rows.assign(target=[tolerance(q, arch.scaling) for q in rows["quantity"]])
        use = np.minimum(rows["error"].abs() / rows["target"], rows["z"].abs() / FEW)
        rows = rows.assign(met=use <= 1, use=use)
        streams = rows["stream"].where(rows["quantity"] != "weight_grad_norm", "")
        worst = rows.groupby([rows["quantity"], streams], sort=False)["use"].idxmax()
        yield rows.loc[worst].drop(columns="use")


def errors(prediction: Prediction, ensemble: Ensemble) -> pd.DataFrame:
    """A theory's error at every layer: the columns of :func:`accuracy` up to z.

    The error is theory / estimate - 1, for cosines theory - estimate; its standard error includes the
    theory's own sampling.
    """
    table = compare(prediction, ensemble).table
    estimates = ensemble.table.set_index(["stream", "quantity", "layer"])["geometric"]
    keys = pd.MultiIndex.from_frame(table[["stream", "quantity", "layer"]])
    logarithmic = table["quantity"].map(lambda name: QUANTITIES[name].logarithmic)
    off = table["theory"] - table["estimate"]
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = 1 / (1 + table["relative_error"].to_numpy()) - 1
        relative_se = table["se"].to_numpy() / table["estimate"].to_numpy()
    return pd.DataFrame(
        {
            "placement": table["placement"],
            "scaling": table["scaling"],
            "mask": ensemble.arch.mask,
            "theory": prediction.theory,
            "quantity": table["quantity"],
            "stream": table["stream"],
            "layer": table["layer"],
            "predicted": table["theory"],
            "estimate": table["estimate"],
            "geometric": estimates.reindex(keys).to_numpy(),
            "error": np.where(logarithmic, relative, off),
            "se": np.where(logarithmic, relative_se, table["se"]),
            "z": table["z"],
        }
    )
