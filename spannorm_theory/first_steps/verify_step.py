"""``verify_step``: theory of the first step against real steps, with the verdict of ``verify``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..base import arguments
from ..base.quantities import QUANTITIES, Key, tidy
from ..gaussian.closed_forms import Array
from ..prediction.predict import predict_profiles
from ..prediction.prediction import Prediction
from ..spec.architecture import Architecture
from ..spec.arguments import architecture
from ..verification.allowances import block_variances
from ..verification.drift import drift
from ..verification.outcome import Verification
from ..verification.rows import FALSE_ALARM, gate_width, judge, verdicts
from .first_step import step_ensemble
from .optimisers import Optimiser
from .optimisers import optimiser as optimiser_of
from .rates import rates_of
from .theory import predicted

if TYPE_CHECKING:
    from ..montecarlo.ensemble import Ensemble


def verify_step(
    arch: Architecture | str,
    optimiser: str | Optimiser = "adam",
    *,
    lr: float | Mapping[str, float] = 1.0,
    epsilon: float | None = None,
    networks: int = 32,
    seed: int = 0,
    device: str = "auto",
    progress: bool | None = None,
) -> Verification:
    """Compare the theory of the first step with real steps of ``networks`` independent networks.

    A finite width allows every row the variances of all blocks forward and backward, which it allows weight
    gradients (docs/theory.md, section 9.4), on the logarithm, and of shares as large a part of them.

    Source: docs/first_step.md; docs/theory.md, section 9.4, has the allowances for the width.

    Args:
        arch, optimiser, lr, epsilon, seed, device, progress: as of ``first_step``.
        networks: at least 3.

    Returns:
        a :class:`~spannorm_theory.Verification`: a row for each layer, stream and quantity, and the verdict.

    Raises:
        InputError: fewer than 3 networks, or another value that cannot be used.
        AssumptionError: the step of this architecture is not derived.
        NonFiniteError: a measurement is infinite or undefined.

    Example:
        >>> import spannorm_theory as st
        >>> result = st.verify_step("pre-norm depth=1 width=64 heads=2 tokens=4", "sign", progress=False)
        >>> result.passed
        True
    """
    arch = architecture(arch)
    rule, rates = optimiser_of(optimiser, epsilon), rates_of(arch, lr)
    networks = arguments.whole("networks", networks, 3, why="for a standard error")
    prediction = predicted(arch, rule, rates)
    return compare_step(prediction, step_ensemble(arch, rule, rates, networks, seed, device, progress))


def compare_step(prediction: Prediction, ensemble: Ensemble) -> Verification:
    """A prediction of the first step judged by networks, on the quantities that these have."""
    arch, samples = ensemble.arch, ensemble.samples
    room = 2 / arch.width + float(block_variances(arch, predict_profiles(arch).profiles).sum())
    profiles = {key: _of(prediction.profiles, key, x) for key, x in samples.items()}
    errors = prediction.errors or {}
    allowed = {
        key: np.full_like(x, room) if QUANTITIES[key[1]].logarithmic else room * np.nan_to_num(x)
        for key, x in profiles.items()
    }
    threshold = gate_width(ensemble.networks, sum(len(x) for x in profiles.values()))
    columns: dict[str, dict[Key, Array]] = {}
    for key, sample in samples.items():
        log = QUANTITIES[key[1]].logarithmic
        judged = judge(sample, profiles[key], errors.get(key), threshold, allowed[key], log)
        nothing = np.full(len(profiles[key]), np.nan)
        for name, column in {**judged, "low": nothing, "high": nothing, "outside": 0 * nothing}.items():
            columns.setdefault(name, {})[key] = column
    table = tidy(arch.labels, profiles, columns)
    table = table.rename(columns={"value": "theory", "log_value": "log_theory"})
    table["networks"] = ensemble.networks
    table["verdict"] = verdicts(table, prediction.undecided, threshold)
    none = {key: np.zeros(len(x), dtype=bool) for key, x in profiles.items()}
    drifts = drift(samples, profiles, _errors(prediction, profiles), allowed, none, FALSE_ALARM)
    return Verification(arch, table, drifts, threshold, prediction.theory, ensemble)


def _of(profiles: Mapping[Key, Array], key: Key, sample: Array) -> Array:
    """A profile of the theory; what it does not predict is no number."""
    return profiles[key] if key in profiles else np.full(sample.shape[1], np.nan)


def _errors(prediction: Prediction, profiles: Mapping[Key, Array]) -> dict[Key, Array] | None:
    if prediction.errors is None:
        return None
    return {key: prediction.errors.get(key, np.zeros_like(x)) for key, x in profiles.items()}
