r"""Theory against Monte Carlo, layer by layer: z, relative error, bounds, and a verdict.

A row passes when |estimate - theory| <= k SE + allowance, on the logarithm for quantities that are
squared norms. SE is over independent networks. k is the two-sided Student quantile at which all rows
of one verification together raise a false alarm with probability 1e-3 (Bonferroni; rows are strongly
correlated, so the true rate is lower). The allowance is the theory's own statement of what a finite
network may differ by (:mod:`spannorm_theory.verification.allowances`), not a tuned tolerance. Every single
network is held against the bounds, which hold for any token correlation, with the fluctuation that
its width implies.

Means of squared norms, which are nearly log-normal over networks, are compared on the log scale
(:func:`.estimators.log_mean`). Where attention has become a maximum (huge logits), gradients of queries
and keys live on rare near ties; with fewer than ``FEWEST_EVENTS`` of them in the whole ensemble a row is
marked "rare": neither confirmed nor refuted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from ..base.errors import InputError
from ..base.quantities import QUANTITIES, Key, tidy
from ..bounds.intervals import bounds
from ..gaussian.closed_forms import Array
from ..prediction.predict import predict_profiles
from ..prediction.prediction import Prediction
from ..spec.architecture import Architecture
from .allowances import allowances, fluctuations
from .estimators import log_mean, mean

if TYPE_CHECKING:
    from ..montecarlo.ensemble import Ensemble

#: rare events below this number in a whole ensemble leave a mean without a usable standard error
FEWEST_EVENTS = 30

#: float32 resolves 1 - rho and moments' logarithms within these
SMALLEST_DROP, LARGEST_LOG = 1e-5, 25.0

#: columns of a notebook's table
SHOWN = ["quantity", "stream", "layer", "theory", "estimate", "se", "z", "relative_error", "gate", "verdict"]

#: probability that a verification of a correct theory fails
FALSE_ALARM = 1e-3


@dataclass(frozen=True)
class Verification:
    """The outcome of :func:`verify`.

    Attributes:
        arch: what was verified.
        table: one row for each layer, stream and quantity: theory, estimate, se, networks, z,
            relative_error, allowance, low, high (bounds; NaN where there are none), outside (networks
            beyond them by more than the allowance and their own fluctuation), gate (share of the
            gate that the difference uses), verdict.
        threshold: k, in standard errors.
        theory: "pair" or "position-resolved".
    """

    arch: Architecture
    table: pd.DataFrame
    threshold: float
    theory: str
    ensemble: Ensemble

    @property
    def failures(self) -> pd.DataFrame:
        """The rows that contradict the theory: "off" or "out of bounds"."""
        return self.table[self.table["verdict"].isin(["off", "out of bounds"])]

    @property
    def passed(self) -> bool:
        """Whether every row that can be tested is within its gate and its bounds."""
        return self.failures.empty

    @property
    def untested(self) -> int:
        """Rows whose mean is carried by events too rare for this number of networks."""
        return int((self.table["verdict"] == "rare").sum())

    def worst(self) -> pd.DataFrame:
        """The row with the largest use of its gate for each quantity and stream."""
        tested = self.table[~self.table["verdict"].isin(["rare", "not predicted"])]
        index = tested.groupby(["quantity", "stream"], sort=False)["gate"].idxmax()
        return tested.loc[index].reset_index(drop=True)

    def summary(self) -> str:
        """One line a quantity, and the verdict."""
        n = self.ensemble.networks
        lines = [
            f"{self.arch}: {self.theory} theory against {n} networks "
            f"({self.ensemble.engine} engine), k = {self.threshold:.1f}"
        ]
        for row in self.worst().to_dict("records"):
            name = f"{row['quantity']} [{row['stream']}]"
            lines.append(
                f"  {name:36s} worst at layer {row['layer']:4d}: theory {row['theory']:10.4g}  "
                f"estimate {row['estimate']:10.4g}  z {row['z']:6.1f}  error {row['relative_error']:+7.1%}  "
                f"gate used {row['gate']:5.0%}  {row['verdict']}"
            )
        if self.untested:
            lines.append(
                f"  {self.untested} of {len(self.table)} rows cannot be tested with {n} networks: attention "
                "is a maximum nearly everywhere, and their mean is carried by rare near ties"
            )
        lines.append("  PASS" if self.passed else f"  FAIL: {len(self.failures)} of {len(self.table)} rows")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        verdict = "passes" if self.passed else f"fails in {len(self.failures)} of {len(self.table)} rows"
        worst = self.worst()[SHOWN].to_html(index=False, float_format="{:.4g}".format)
        return f"<p>{self.arch}: {verdict}. Worst layer of each quantity:</p>{worst}"


def verify(
    arch: Architecture,
    *,
    networks: int = 64,
    seed: int = 0,
    device: str = "auto",
    engine: str = "auto",
    dtype: str = "auto",
    progress: bool | None = None,
    theory: Prediction | None = None,
) -> Verification:
    """Compare the theory of ``arch`` with Monte Carlo over ``networks`` independent networks.

    Args:
        dtype: "float32", "float64", or "auto": float64 where the theory predicts token differences or
            moments that float32 would round away.
        theory: judge this prediction instead of the theory's own for ``arch`` (to see a wrong theory
            fail).

    Raises:
        InputError: fewer than 3 networks, from which no standard error follows.
        NonFiniteError: the simulation produced an infinite or undefined number.
    """
    if isinstance(networks, bool) or not isinstance(networks, int) or networks < 3:
        raise InputError(f"verify needs at least 3 networks for a standard error, got {networks!r}")
    from ..montecarlo.ensemble import simulate

    prediction = predict_profiles(arch) if theory is None else theory
    if dtype == "auto":
        dtype = precision(prediction if theory is None else predict_profiles(arch))
    ensemble = simulate(
        arch, networks=networks, seed=seed, device=device, engine=engine, dtype=dtype, progress=progress
    )
    return compare(prediction, ensemble)


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
        raise InputError(
            f"the prediction has no {sorted(missing)}; it belongs to another kind of architecture"
        )
    networks = ensemble.networks
    rows = sum(s.shape[1] for s in samples.values())
    threshold = float(stats.t.isf(FALSE_ALARM / (2 * rows), networks - 1))
    allowed = allowances(arch, profiles)
    limits, spread = bounds(arch), fluctuations(arch, profiles)
    reach = float(stats.norm.isf(FALSE_ALARM / (2 * rows * networks)))
    names = ("estimate", "se", "z", "relative_error", "allowance", "low", "high", "outside", "gate")
    columns: dict[str, dict[Key, Array]] = {name: {} for name in names}
    for key, sample in samples.items():
        logarithmic = QUANTITIES[key[1]].logarithmic
        center, error = log_mean(sample) if logarithmic else mean(sample)
        if prediction.errors is not None:
            error = np.hypot(error, prediction.errors[key])
        # gradients that are zero in theory and in every network have no logarithm
        nothing = np.isneginf(profiles[key]) & np.isneginf(sample).all(axis=0)
        center, error = np.where(nothing, -np.inf, center), np.where(nothing, 0.0, error)
        with np.errstate(invalid="ignore"):
            difference = np.where(nothing, 0.0, center - profiles[key])
            # a theory of zero against something else is no number, and fails
            gate = np.abs(difference) / (threshold * error + allowed[key])
        low, high = limits.get(key, (np.full_like(center, np.nan),) * 2)
        slack = allowed[key] + reach * spread[key] if key in limits else np.nan
        outside = ((sample < low - slack) | (sample > high + slack)).sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
            z = np.where(error > 0, difference / error, 0.0)
            value = np.exp(center) if logarithmic else center
            scale = np.where(profiles[key] == 0, np.nan, np.abs(profiles[key]))
            relative = np.expm1(difference) if logarithmic else difference / scale
            filled = {
                "estimate": value,
                "se": value * error if logarithmic else error,
                "z": z,
                "relative_error": relative,
                "allowance": allowed[key],
                "low": np.exp(low),
                "high": np.exp(high),
                "outside": outside,
                "gate": gate,
            }
        for name, column in filled.items():
            columns[name][key] = column
    table = tidy(arch.labels, {key: profiles[key] for key in samples}, columns)
    table = table.rename(columns={"value": "theory", "log_value": "log_theory"})
    table["networks"] = networks
    table["verdict"] = _verdicts(table, prediction.undecided * networks)
    return Verification(arch, table, threshold, prediction.theory, ensemble)


def _verdicts(table: pd.DataFrame, undecided: Array) -> Any:
    # gradients at layer l pass every block above it
    events = np.append(np.minimum.accumulate(undecided[::-1])[::-1], np.inf)[table["layer"]]
    gradient = table["quantity"].isin(["grad_variance", "grad_token_cosine", "weight_grad_norm"])
    outside = table["outside"] > 0
    rare = gradient & (events < FEWEST_EVENTS)
    # a gate that is no number must not pass
    conditions = [table["theory"].isna(), rare, ~(table["gate"] <= 1), outside]
    return np.select(conditions, ["not predicted", "rare", "off", "out of bounds"], default="ok")
