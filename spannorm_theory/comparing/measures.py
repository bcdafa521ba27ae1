r"""The numbers of a candidate, read off the profiles of its prediction.

The gradient is the second moment gamma_l per coordinate of the loss gradient at a stream, for a unit gradient
at the model's output: as streams are alike in size, gamma_l is the squared norm of the gradient at layer l
over that at the output. Of several streams, sizes, shares and gradients are those of the one that is largest
behind the last block, but that at the embedding is of all together; token cosines are those of the stream
whose tokens end least alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..base.errors import AssumptionError, PositionsError
from ..base.quantities import INPUT, LOGGED, OUTPUT, Key
from ..gaussian.closed_forms import Array
from ..prediction.predict import predict_profiles
from ..spec.architecture import Architecture
from .candidates import Candidate

#: token cosines whose depths are given
MARKS = (0.5, 0.9)

#: columns of a training log, in the order of ``LOGGED``
OF_HEAD = ("loss", "logit_variance", "global_gradient_norm")

#: share of the first block's weights in the squared global gradient norm
FIRST = "first_block_share"

#: columns that every candidate has a number for, or NaN
NUMBERS = (
    *("squared_gradient", "log_squared_gradient", "gradient_ratio", "log_gradient_ratio"),
    *(f"cosine_above_{mark}" for mark in MARKS),
    *("token_cosine", "variance", "log_variance", "branch_share", *OF_HEAD, FIRST),
)


@dataclass(frozen=True)
class Measures:
    """A candidate with its profiles.

    Attributes:
        theory: which one made them; empty where none could.
        stream, apart: those of several that are largest, and whose tokens are least alike, at the top.
        problem: why there are none, or not all.
        gradient: ln gamma_l, (depth + 1,), NaN from the layer on at which the theory stopped, and all of it
            where it did.
        cosine, variance: token cosine and ln q_l, likewise.
        numbers: columns of the table by name.
    """

    candidate: Candidate
    theory: str
    stream: str
    apart: str
    problem: str
    gradient: Array
    cosine: Array
    variance: Array
    numbers: dict[str, float]


def measures(candidate: Candidate, theory: str, progress: bool = False) -> Measures:
    """The numbers of a candidate; NaN is what the theory does not predict.

    Raises:
        UnknownNameError: there is no such theory.
    """
    arch = candidate.arch
    try:
        prediction = predict_profiles(arch, theory, progress)
    except PositionsError as error:
        return _reached(candidate, error)
    except AssumptionError as error:
        return _nothing(candidate, str(error))
    profiles, stream = prediction.profiles, largest(arch, prediction.profiles)
    gradient, apart = profiles[stream, "grad_variance"], least_alike(arch, profiles)
    cosine, variance = profiles[apart, "token_cosine"], profiles[stream, "variance"]
    source = profiles[INPUT][0] if INPUT in profiles else gradient[0]
    ratio = max(spread(profiles[s, "grad_variance"]) for s in _streams(arch))
    numbers: dict[str, float] = {**_log("squared_gradient", source), **_log("gradient_ratio", ratio)}
    numbers |= _marked(cosine)
    numbers |= {"token_cosine": float(cosine[-1]), **_log("variance", variance[-1])}
    numbers |= {"branch_share": float(profiles[stream, "branch_share"][-1])}
    problem, logged = _logged(candidate, theory, progress)
    matrices = [key for key in profiles if key[1] == "weight_grad_norm"]
    problem = "; ".join(filter(None, (problem, *prediction.unsaid(matrices))))
    weights = {
        f"weight_ratio {matrix}": _ratio(x)
        for (matrix, quantity), x in profiles.items()
        if quantity == "weight_grad_norm" and not np.isneginf(x).all()  # else no branch has it
    }
    numbers |= {**logged, **weights}
    shown = gradient, cosine, variance
    return Measures(candidate, prediction.theory, stream, apart, problem, *shown, numbers)


def _nothing(candidate: Candidate, problem: str) -> Measures:
    nothing = np.full(candidate.arch.depth + 1, np.nan)
    return Measures(candidate, "", "0", "0", problem, nothing, nothing, nothing, {})


def _reached(candidate: Candidate, error: PositionsError) -> Measures:
    """The numbers of the layers that a forward pass has reached; gradients need all of them."""
    arch, profiles = candidate.arch, error.reached
    if not profiles or len(profiles["0", "variance"]) < 2:  # not one block
        return _nothing(candidate, str(error))
    stream, apart = largest(arch, profiles), least_alike(arch, profiles)
    nothing, missing = np.full(arch.depth + 1, np.nan), arch.depth + 1 - len(profiles[stream, "variance"])
    cosine, variance = (
        np.pad(profiles[key], (0, missing), constant_values=np.nan)
        for key in ((apart, "token_cosine"), (stream, "variance"))
    )
    numbers = {**dict.fromkeys(NUMBERS, np.nan), **_marked(cosine)}
    problem = f"no gradient: {error}"
    return Measures(candidate, "positions", stream, apart, problem, nothing, cosine, variance, numbers)


def _streams(arch: Architecture) -> list[str]:
    return [str(s) for s in range(arch.definition.streams)]


def largest(arch: Architecture, profiles: Mapping[Key, Array]) -> str:
    """The stream of the largest second moment at the last layer that profiles have."""
    sizes = [profiles[s, "variance"][-1] for s in _streams(arch)]
    return str(int(np.argmax(np.round(sizes, 9))))


def least_alike(arch: Architecture, profiles: Mapping[Key, Array]) -> str:
    """The stream whose tokens are least alike there."""
    return min(_streams(arch), key=lambda s: profiles[s, "token_cosine"][-1])


def kinds(arch: Architecture) -> set[str]:
    """The kinds of branches that blocks have."""
    return {branch.kind for trace in arch.traces for branch in trace.branches}


def spread(logs: Array) -> float:
    """The largest difference between layers, of those that have a gradient."""
    known = logs[np.isfinite(logs)]
    return float(known.max() - known.min()) if len(known) else np.nan


def first_above(cosine: Array, mark: float) -> float:
    """The first layer at which a token cosine is above ``mark``; NaN where none is."""
    above = np.flatnonzero(cosine > mark)
    return float(above[0]) if len(above) else np.nan


def _marked(cosine: Array) -> dict[str, float]:
    return {f"cosine_above_{mark}": first_above(cosine, mark) for mark in MARKS}


def _ratio(weights: Array) -> float:
    """The last block's squared norm over the first's, from logarithms; NaN where neither has a gradient."""
    with np.errstate(invalid="ignore"):
        return _exp(weights[-1] - weights[0])


def _logged(candidate: Candidate, theory: str, progress: bool) -> tuple[str, dict[str, float]]:
    """Why there is none, and the numbers of a training log."""
    try:
        prediction = predict_profiles(candidate.trained, theory, progress)
    except AssumptionError as error:
        return f"no loss: {error}", dict.fromkeys((*OF_HEAD, FIRST), np.nan)
    profiles = prediction.profiles
    loss, *logs = (float(profiles[OUTPUT, name][0]) for name in LOGGED)
    first = [x[0] for (_, quantity), x in profiles.items() if quantity == "weight_grad_norm"]
    with np.errstate(invalid="ignore"):  # of what is left out
        share = _exp(np.logaddexp.reduce(first) - 2 * logs[-1])
    unsaid = "; ".join(prediction.unsaid([(OUTPUT, name) for name in LOGGED]))
    return unsaid, {**dict(zip(OF_HEAD, (loss, *map(_exp, logs)), strict=True)), FIRST: share}


def _log(name: str, value: Any) -> dict[str, float]:
    return {name: _exp(value), f"log_{name}": float(value)}


def _exp(log: Any) -> float:
    with np.errstate(over="ignore", under="ignore"):
        return float(np.exp(log))
