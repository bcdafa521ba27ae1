"""The measure of a check: one value, a ratio, or an exponent, from samples or from the theory.

Every measure is a weighted sum of logarithms of means over networks: a ratio has weights 1 and -1, the
least-squares exponent of y against x the weights of that line. Its standard error follows from each network's
first-order influence, summed over terms network by network: simulations from one seed may share random
numbers, so that networks of one index belong together, while those of different indices are independent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ..base.errors import InputError
from ..base.quantities import QUANTITIES, Key
from ..gaussian.closed_forms import Array
from ..prediction.prediction import Prediction
from ..spec.architecture import Architecture

Predict = Callable[[Architecture], Prediction]


@dataclass(frozen=True)
class Term:
    """A quantity of one architecture at one layer, with its weight in the sum of logarithms."""

    arch: Architecture
    quantity: str
    stream: str
    layer: int
    weight: float = 1.0

    @property
    def key(self) -> Key:
        """The term's key in samples and profiles."""
        return self.stream, self.quantity


@dataclass(frozen=True)
class Estimate:
    """A measured value, its standard error, and the number of networks behind it."""

    value: float
    error: float
    networks: int


def exponent_weights(x: Array) -> Array:
    """Weights of ln y in the least-squares slope of ln y against ln x."""
    centred = np.log(x) - np.log(x).mean()
    return np.asarray(centred / np.square(centred).sum())


@dataclass(frozen=True)
class Measure:
    """A single value (one term), a ratio or power product (several), or an exponent."""

    terms: tuple[Term, ...]
    exponent: bool = False

    def theory(self, predict: Predict) -> float:
        """The term's value in the theory's profiles."""
        if self._plain:
            return self._finish_one(predict(self.terms[0].arch).profiles[self.terms[0].key])
        total = 0.0
        for term in self.terms:
            value = float(predict(term.arch).profiles[term.key][term.layer])
            total += term.weight * (value if QUANTITIES[term.quantity].logarithmic else float(np.log(value)))
        return total if self.exponent else float(np.exp(total))

    def estimate(self, samples: Callable[[Architecture], Mapping[Key, Array]]) -> Estimate:
        """The measure of simulated networks.

        Raises:
            InputError: a quantity, stream or layer that the architecture does not have, or fewer than three
                networks.
        """
        columns = [_column(term, samples(term.arch)) for term in self.terms]
        networks = len(columns[0][0])
        if networks < 3:
            raise InputError(f"a check needs at least 3 networks for a standard error, got {networks}")
        if self._plain:
            (column, shift), unit = columns[0], np.exp(columns[0][1])
            error = column.std(ddof=1) / np.sqrt(networks)
            return Estimate(float(column.mean() * unit), float(error * unit), networks)
        total, influence = 0.0, np.zeros(networks)
        for term, (column, shift) in zip(self.terms, columns, strict=True):
            mean = column.mean()
            with np.errstate(invalid="ignore", divide="ignore"):
                total += term.weight * (np.log(mean) + shift)
                influence += term.weight * (column / mean - 1)
        error = influence.std(ddof=1) / np.sqrt(networks)
        if self.exponent:
            return Estimate(float(total), float(error), networks)
        return Estimate(float(np.exp(total)), float(error * np.exp(total)), networks)

    @property
    def _plain(self) -> bool:
        return len(self.terms) == 1 and not self.exponent

    def _finish_one(self, profile: Array) -> float:
        term = self.terms[0]
        value = profile[term.layer]
        return float(np.exp(value) if QUANTITIES[term.quantity].logarithmic else value)


def _column(term: Term, samples: Mapping[Key, Array]) -> tuple[Array, float]:
    """The networks' values divided by exp(shift), which keeps them in range."""
    if term.key not in samples:
        known = ", ".join(f"{q} [{s}]" for s, q in samples if q == term.quantity)
        raise InputError(
            f"{term.arch} has no {term.quantity} [{term.stream}]; "
            + (f"it has {known}" if known else f"known quantities: {', '.join(QUANTITIES)}")
        )
    values = samples[term.key]
    if not -values.shape[1] <= term.layer < values.shape[1]:
        raise InputError(f"{term.quantity} of {term.arch} has layers 0 to {values.shape[1] - 1}")
    column = values[:, term.layer]
    if not QUANTITIES[term.quantity].logarithmic:
        return column, 0.0
    shift = float(column.max())
    shift = shift if np.isfinite(shift) else 0.0
    return np.exp(column - shift), shift
