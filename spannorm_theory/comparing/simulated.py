"""Monte Carlo beside the theory: random networks of a candidate, with standard errors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..base.quantities import INPUT, OUTPUT, QUANTITIES, Key
from ..gaussian.closed_forms import Array
from ..verification.estimators import log_mean, mean
from .measures import Measures

Samples = dict[Key, Array]

#: columns that have a mean over networks: quantity and layer of the candidate's stream
OF_STREAM = {
    "squared_gradient": ("grad_variance", 0),
    "token_cosine": ("token_cosine", -1),
    "variance": ("variance", -1),
    "branch_share": ("branch_share", -1),
}

#: likewise of its head; theory and networks average the square of the norm
TRAINED = {
    "loss": ("loss", 1.0),
    "logit_variance": ("logit_second_moment", 1.0),
    "global_gradient_norm": ("global_grad_norm", 2.0),
}


def simulated(
    found: Measures, networks: int, seed: int, done: Callable[[], object]
) -> tuple[dict[str, float], Samples]:
    """Columns ``X_mc`` and ``X_se``, and the samples behind them; ``done`` is called after each of the two
    ensembles."""
    from ..montecarlo.ensemble import simulate

    columns: dict[str, float] = {}
    own = simulate(found.candidate.arch, networks, seed, progress=False).samples
    done()
    streams = {
        "squared_gradient": INPUT[0] if INPUT in own else found.stream,
        "token_cosine": found.apart,
    }
    for name, (quantity, layer) in OF_STREAM.items():
        sample = own[streams.get(name, found.stream), quantity][:, layer]
        columns |= _estimate(name, sample, QUANTITIES[quantity].logarithmic, 1.0)
    trained = simulate(found.candidate.trained, networks, seed, progress=False).samples
    done()
    for name, (quantity, power) in TRAINED.items():
        sample = trained[OUTPUT, quantity][:, 0]
        columns |= _estimate(name, sample, QUANTITIES[quantity].logarithmic, power)
    return columns, dict(own)


def _estimate(name: str, sample: Array, logarithmic: bool, power: float) -> dict[str, float]:
    """The mean over networks and its standard error; of logarithms, that of the numbers' ``power``, and its
    root."""
    column = sample[:, None]
    if not logarithmic:
        value, error = (float(x[0]) for x in mean(column))
    else:
        log, relative = (float(x[0]) for x in log_mean(power * column))
        with np.errstate(over="ignore", under="ignore"):
            value = float(np.exp(log / power))
        error = value * relative / power
    return {f"{name}_mc": value, f"{name}_se": error}
