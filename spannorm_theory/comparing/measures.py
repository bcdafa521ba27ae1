r"""The numbers of a candidate, read off the profiles of its prediction.

The gradient is the second moment gamma_l per coordinate of the loss gradient at a stream, for a unit gradient
at the model's output: as streams are alike in size, gamma_l is the squared norm of the gradient at layer l
over that at the output. Of several streams, sizes, shares and gradients are those of the one that is largest
behind the last block, but that at the embedding is of all together; token cosines are those of the stream
whose tokens end least alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..base.errors import AssumptionError, PositionsError
from ..base.quantities import INPUT, LOGGED, OUTPUT
from ..gaussian.closed_forms import Array
from ..prediction.positions import declined, sampled_seconds
from ..prediction.predict import fitting, predict_profiles
from ..prediction.prediction import Prediction
from ..spec.architecture import Architecture
from .candidates import Candidate

#: token cosines whose depths are given
MARKS = (0.5, 0.9)

#: processor seconds that sampled heads may take in place of positions that do not carry a stack
PATIENCE = 120.0

#: columns of a training log, in the order of ``LOGGED``
OF_HEAD = ("loss", "logit_variance", "global_gradient_norm")


@dataclass(frozen=True)
class Measures:
    """A candidate with its profiles.

    Attributes:
        theory: which one made them; empty where none could.
        stream, apart: those of several that are largest, and whose tokens are least alike, at the top.
        problem: why none could.
        gradient: ln gamma_l, (depth + 1,).
        cosine: token cosine, likewise.
        numbers: columns of the table by name.
    """

    candidate: Candidate
    theory: str
    stream: str
    apart: str
    problem: str
    gradient: Array
    cosine: Array
    numbers: dict[str, float]


def theory_of(arch: Architecture, theory: str) -> str:
    """The theory that a comparison takes: under a causal mask positions as a coordinate where they can be
    that, at any number of tokens, since sampled heads take minutes in deep stacks."""
    if theory == "auto" and not arch.exchangeable and not declined(arch):
        return "positions"
    return fitting(arch) if theory == "auto" else theory


def measures(candidate: Candidate, theory: str, progress: bool = False) -> Measures:
    """The numbers of a candidate; NaN is what the theory does not predict.

    Raises:
        UnknownNameError: there is no such theory.
    """
    arch = candidate.arch
    try:
        prediction = predicted(arch, theory, progress)
    except AssumptionError as error:
        nothing = np.full(arch.depth + 1, np.nan)
        return Measures(candidate, "", "0", "0", str(error), nothing, nothing, {})
    profiles, stream = prediction.profiles, largest(prediction)
    streams = [str(s) for s in range(arch.definition.streams)]
    gradient = profiles[stream, "grad_variance"]
    apart = min(streams, key=lambda s: profiles[s, "token_cosine"][-1])
    cosine = profiles[apart, "token_cosine"]
    source = profiles[INPUT][0] if INPUT in profiles else gradient[0]
    ratio = max(spread(profiles[s, "grad_variance"]) for s in streams)
    variance = profiles[stream, "variance"][-1]
    numbers: dict[str, float] = {**_log("squared_gradient", source), **_log("gradient_ratio", ratio)}
    numbers |= {f"cosine_above_{mark}": first_above(cosine, mark) for mark in MARKS}
    numbers |= {"token_cosine": float(cosine[-1]), **_log("variance", variance)}
    numbers |= {"branch_share": float(profiles[stream, "branch_share"][-1])}
    problem, logged = _logged(candidate, theory, progress)
    weights = {
        f"weight_ratio {matrix}": _exp(x[-1] - x[0])
        for (matrix, quantity), x in profiles.items()
        if quantity == "weight_grad_norm"
    }
    numbers |= {**logged, **weights}
    return Measures(candidate, prediction.theory, stream, apart, problem, gradient, cosine, numbers)


def predicted(arch: Architecture, theory: str, progress: bool = False) -> Prediction:
    """The prediction of the theory that :func:`theory_of` names, or where "auto" asks for it and it declines,
    that of sampled heads if they take less than ``PATIENCE``.

    Raises:
        AssumptionError: that of the theory.
    """
    try:
        return predict_profiles(arch, theory_of(arch, theory), progress)
    except PositionsError:
        if theory != "auto" or sampled_seconds(arch) > PATIENCE:
            raise
        return predict_profiles(arch, "sampled", progress)


def largest(prediction: Prediction) -> str:
    """The stream of the largest second moment behind the last block."""
    streams = range(prediction.arch.definition.streams)
    sizes = [prediction.profiles[str(s), "variance"][-1] for s in streams]
    return str(int(np.argmax(np.round(sizes, 9))))


def spread(logs: Array) -> float:
    """The largest difference between layers, of those that have a gradient."""
    known = logs[np.isfinite(logs)]
    return float(known.max() - known.min()) if len(known) else np.nan


def first_above(cosine: Array, mark: float) -> float:
    """The first layer at which a token cosine is above ``mark``; NaN where none is."""
    above = np.flatnonzero(cosine > mark)
    return float(above[0]) if len(above) else np.nan


def _logged(candidate: Candidate, theory: str, progress: bool) -> tuple[str, dict[str, float]]:
    """Why there is none, and the numbers of a training log."""
    try:
        profiles = predicted(candidate.trained, theory, progress).profiles
    except AssumptionError as error:
        return f"no loss: {error}", dict.fromkeys(OF_HEAD, np.nan)
    loss, *logs = (float(profiles[OUTPUT, name][0]) for name in LOGGED)
    return "", dict(zip(OF_HEAD, (loss, *map(_exp, logs)), strict=True))


def _log(name: str, value: Any) -> dict[str, float]:
    return {name: _exp(value), f"log_{name}": float(value)}


def _exp(log: Any) -> float:
    with np.errstate(over="ignore", under="ignore"):
        return float(np.exp(log))
