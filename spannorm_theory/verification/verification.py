r"""Theory against Monte Carlo, layer by layer: z, relative error, bounds, and a verdict (T9.10 to T9.13).

A row agrees where |estimate - theory| <= k SE, on the logarithm for squared norms, which are nearly
log-normal over networks (:func:`.estimators.log_mean`); SE is over independent networks, and k the two-sided
Student quantile at which all rows of a verification together raise a false alarm with probability
``FALSE_ALARM`` (Bonferroni; rows are strongly correlated, so that the true rate is lower). It agrees
within width where the difference is at most k SE + allowance (:mod:`.allowances`). Every single network is
held against the bounds, with the fluctuation that its width implies, and the mean difference over layers of
each quantity against its own error (:mod:`.drift`).

Where attention has become a maximum (huge logits), gradients of queries and keys live on rare near ties; with
fewer than ``FEWEST_EVENTS`` of them in the whole ensemble a row is "rare": neither confirmed nor refuted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from ..base import arguments
from ..base.errors import InputError
from ..base.quantities import QUANTITIES, Key, tidy
from ..bounds.intervals import bounds
from ..gaussian.closed_forms import Array
from ..prediction.predict import predict_profiles
from ..prediction.prediction import Prediction
from ..spec.architecture import Architecture
from ..spec.arguments import architecture
from .allowances import allowances, spreads
from .drift import drift
from .estimators import influence
from .outcome import Verification
from .rows import FALSE_ALARM, gate_width, judge, verdicts

if TYPE_CHECKING:
    from ..montecarlo.ensemble import Ensemble

#: least 1 - rho and largest logarithm of a moment that float32 resolves: beyond, float64 is simulated, in
#: twice the memory
SMALLEST_DROP, LARGEST_LOG = 1e-5, 25.0

#: largest difference between networks that float32's rounding makes: where it is all, width allows nothing
ROUNDING = 1e-5


def verify(
    arch: Architecture | str,
    *,
    networks: int = 64,
    seed: int = 0,
    device: str = "auto",
    engine: str = "auto",
    dtype: str = "auto",
    progress: bool | None = None,
    theory: str | Architecture = "auto",
    by: None = None,
) -> Verification:
    """Compare the theory of ``arch`` with Monte Carlo over ``networks`` independent networks.

    Source: docs/theory.md, section 9.4, has the allowances for the width.

    Args:
        arch: an architecture, or its text form.
        networks: at least 3.
        seed, device, engine, progress: as of ``simulate``.
        dtype: as of ``simulate``, or "auto": float64 where the theory predicts token differences or moments
            that float32 would round away.
        theory: the name of one of the theories of ``predict``; or another architecture, or its text form,
            whose theory is judged by the networks of ``arch`` (to see a wrong theory fail).
        by: None: rows are averages over tokens, and single positions are for ``predict`` and ``simulate``.

    Returns:
        a :class:`Verification`: a row for each layer, stream and quantity, and the verdict.

    Raises:
        InputError: fewer than 3 networks, from which no standard error follows, single positions, or another
            value that cannot be used.
        NonFiniteError: the simulation produced an infinite or undefined number.

    Example:
        >>> import spannorm_theory as st
        >>> result = st.verify("pre-norm depth=2 width=64 heads=2 tokens=8", networks=40, progress=False)
        >>> result.passed
        True
    """
    if by is not None:
        raise InputError(
            f"verify judges averages over tokens, got by={by!r}; compare the tables of predict(arch, "
            "by='position') and simulate(arch, by='position')"
        )
    arch, seed = architecture(arch), arguments.seed(seed)
    networks = arguments.whole("networks", networks, 3, why="for a standard error")
    from ..montecarlo.ensemble import DTYPES, choose_engine, simulate
    from ..montecarlo.resources import choose_device

    # what simulate would refuse is refused before anything is computed
    arguments.choice("dtype", dtype, ("auto", *DTYPES))
    choose_engine(arch, engine)
    choose_device(device)
    bars = progress is not False
    other = architecture(theory) if not isinstance(theory, str) or " " in theory else None
    own = predict_profiles(arch, "auto" if isinstance(other, Architecture) else str(theory), bars)
    judged = own if other is None else predict_profiles(other, progress=bars)
    if dtype == "auto":
        dtype = precision(own)
    ensemble = simulate(
        arch, networks=networks, seed=seed, device=device, engine=engine, dtype=dtype, progress=progress
    )
    if ensemble.networks < 3:  # interrupted
        raise KeyboardInterrupt
    return replace(compare(judged, ensemble), judged=other)


def precision(prediction: Prediction) -> str:
    """The floating-point format that resolves what the theory predicts.

    Rounding in float32 gives every token a relative error of 1e-7, a squared difference of 1e-14 that
    query and key gradients, which fall as (1 - rho)^2, meet first; and where moments grow
    exponentially, gradients leave its range within a block.
    """
    collapsed = any(
        (profile > 1 - SMALLEST_DROP).any()
        for (_, quantity), profile in prediction.profiles.items()
        if quantity == "token_cosine"
    )
    grown = any(
        (np.abs(profile) > LARGEST_LOG).any()
        for (_, quantity), profile in prediction.profiles.items()
        if quantity in ("variance", "grad_variance")
    )
    return "float64" if collapsed or grown else "float32"


def compare(prediction: Prediction, ensemble: Ensemble) -> Verification:
    """Judge a prediction by an ensemble that was already simulated."""
    arch, samples = ensemble.arch, ensemble.samples
    profiles = prediction.profiles
    missing = set(samples) - set(profiles)
    if missing:
        stream, quantity = min(missing)
        raise InputError(
            f"the theory has no {quantity} of {stream}, which the networks have; take that of an "
            "architecture with the same streams and matrices"
        )
    wrong = [name for name, sample in samples.items() if len(profiles[name]) != sample.shape[1]]
    if wrong:
        raise InputError(
            f"the theory has {len(profiles[wrong[0]])} layers of {wrong[0][1]}, and the networks "
            f"{samples[wrong[0]].shape[1]}; it belongs to another depth: take that of the same"
        )
    networks = ensemble.networks
    rows = sum(s.shape[1] for s in samples.values())
    threshold = gate_width(networks, rows)
    measured = {key: influence(sample, QUANTITIES[key[1]].logarithmic)[0] for key, sample in samples.items()}
    allowed, spread = allowances(arch, measured), spreads(arch, measured)
    with np.errstate(invalid="ignore"):  # gradients that are zero have no logarithm
        for (
            key,
            sample,
        ) in samples.items():  # where no network differs, as behind a norm, width allows nothing
            allowed[key] = np.where(np.ptp(sample, axis=0) > ROUNDING, allowed[key], ROUNDING)
    weights = [center for (_, quantity), center in measured.items() if quantity == "weight_grad_norm"]
    # a matrix whose gradient is zero has no logarithm, nor has a layer where all are
    smallest = np.fmax.reduce([np.full(arch.depth, -np.inf), *weights]) + 2 * np.log(ROUNDING)
    limits = bounds(arch)
    reach = -float(ndtri(FALSE_ALARM / (2 * rows * networks)))
    columns: dict[str, dict[Key, Array]] = {}
    for key, sample in samples.items():
        own = None if prediction.errors is None else prediction.errors[key]
        low, high = limits.get(key, (np.full(sample.shape[1], np.nan),) * 2)
        slack = allowed[key] + reach * spread[key] if key in limits else np.nan
        log, least = QUANTITIES[key[1]].logarithmic, smallest if key[1] == "weight_grad_norm" else -np.inf
        judged = judge(sample, profiles[key], own, threshold, allowed[key], log, least)
        with np.errstate(over="ignore"):  # a bound may be above all numbers
            judged |= {"low": np.exp(low), "high": np.exp(high)}
        judged["outside"] = ((sample < low - slack) | (sample > high + slack)).sum(axis=0)
        for name, column in judged.items():
            columns.setdefault(name, {})[key] = column
    table = tidy(arch.labels, {key: profiles[key] for key in samples}, columns)
    table = table.rename(columns={"value": "theory", "log_value": "log_theory"})
    table["networks"] = networks
    table["verdict"] = verdicts(table, prediction.undecided * networks, threshold)
    rare = (table["verdict"] == "rare").groupby([table["stream"], table["quantity"]], sort=False)
    left_out = {(str(stream), str(quantity)): part.to_numpy() for (stream, quantity), part in rare}
    drifts = drift(samples, profiles, prediction.errors, allowed, left_out, FALSE_ALARM)
    unsaid = tuple(prediction.unsaid(samples))
    return Verification(arch, table, drifts, threshold, prediction.theory, ensemble, left_out=unsaid)
