"""The answer of a symbolic result to a claim, and the few readings of the theory that results share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from sympy import Expr, simplify

from ..asymptotics.growth import Growth
from ..asymptotics.laws import laws
from ..base import symbols
from ..base.errors import NoClosedForm
from ..base.quantities import QUANTITIES
from ..gaussian.activations import ACTIVATIONS
from ..gaussian.closed_forms import Array
from ..prediction.predict import predict_profiles
from ..prediction.prediction import Prediction
from ..render.recursion import Recursion, derive
from ..spec.architecture import Architecture


@dataclass(frozen=True)
class Fact:
    """The theory's answer to a claim.

    Attributes:
        holds: whether the claim, as stated, follows.
        formula: what it rests on, as plain text.
        numbers: figures that Monte Carlo checks may refer to by name.
        outside: whether the claim also follows outside its conditions; None where it has none.
    """

    holds: bool
    formula: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    outside: bool | None = None


@lru_cache(maxsize=128)
def recursion(placement: str, scaling: str = "unit") -> Recursion:
    """The derived recursion, once for all results."""
    return derive(placement, scaling)


@lru_cache(maxsize=128)
def law(placement: str, scaling: str, name: str) -> object:
    """The large-depth law called ``name``: a Growth, or the sentence that says why there is none."""
    return _laws(placement, scaling)[name]


@lru_cache(maxsize=64)
def _laws(placement: str, scaling: str) -> Mapping[str, object]:
    return laws(recursion(placement, scaling))


@lru_cache(maxsize=512)
def prediction_of(arch: Architecture) -> Prediction:
    """The theory's prediction, made once."""
    return predict_profiles(arch)


def prediction(text: str) -> Prediction:
    """The theory's prediction for an architecture in text form."""
    return prediction_of(Architecture.parse(text))


def log_profile(text: str, quantity: str, stream: str = "0") -> Array:
    """Natural logarithm of a predicted quantity at every layer."""
    values = prediction(text).profiles[stream, quantity]
    return values if QUANTITIES[quantity].logarithmic else np.log(values)


def predicted(text: str, quantity: str, layer: int = -1, stream: str = "0") -> float:
    """A predicted quantity at one layer."""
    return float(np.exp(log_profile(text, quantity, stream)[layer]))


def predicted_ratio(text: str, quantity: str, layer: int, over: int, stream: str = "0") -> float:
    """A predicted quantity at ``layer`` over the same at ``over``."""
    logs = log_profile(text, quantity, stream)
    return float(np.exp(logs[layer] - logs[over]))


def slope(x: object, logs: object) -> float:
    """Least-squares slope of logarithms against ln x."""
    return float(np.polyfit(np.log(np.asarray(x, dtype=float)), np.asarray(logs, dtype=float), 1)[0])


def growth_of(placement: str, scaling: str, name: str) -> Growth:
    """A large-depth law that is known to exist."""
    found = law(placement, scaling, name)
    if not isinstance(found, Growth):
        raise NoClosedForm(f"{placement} under {scaling} has no law of {name}: {found}")
    return found


def gains(activation: str = "gelu", attention: float = 1.0) -> dict[Expr, float]:
    """Numbers for the four branch gains: fan-in initialisation, attention over aligned tokens."""
    kernel = ACTIVATIONS[activation].kernel
    return {
        symbols.sigma_a2: attention,
        symbols.omega_a2: attention,
        symbols.sigma_f2: float(kernel.value(1.0, 1.0, 1.0)),
        symbols.omega_f2: float(kernel.slope(1.0, 1.0, 1.0)),
        symbols.initial_variance: 1.0,
    }


def balanced(expression: Expr) -> Expr:
    """An expression with omega = sigma in both branches."""
    pairs = {symbols.omega_a2: symbols.sigma_a2, symbols.omega_f2: symbols.sigma_f2}
    return simplify(expression.subs(pairs))
