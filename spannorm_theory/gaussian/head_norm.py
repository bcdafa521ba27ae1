r"""The exact kernel of RMSNorm and LayerNorm over the few coordinates of an attention head (T6.13).

Over the d coordinates of a stream a norm divides by the root of the second moment, and what it does beyond
that is O(1/d). Over m = d_h coordinates, for Gaussian (u, v) of cosine rho (m = d_h - 1 for LayerNorm, which
removes one), with F Gauss' hypergeometric function of order (2, 1),

    K(rho) = E[u.v / (|u| |v|)] = rho g^2 F(1/2, 1/2; m/2 + 1; rho^2),
    g^2 = 2 Gamma((m+1)/2)^2 / (m Gamma(m/2)^2),

the mean of a sample correlation (Muirhead, Aspects of Multivariate Statistical Theory, 1982, section 5.1). A
gradient's covariance is multiplied by K'(rho)/q (Price's theorem), which is (m-1)/(m-2)/q for one token.

An epsilon under the root leaves the share y = q/(q + epsilon) of a second moment q. With y and y' of two
tokens, the norm's outputs have

    E[u.v]/m = sqrt(a a') [rho + y y' (K(rho) - rho)],   a = y [1 - 2 y (1 - y) / m],

and K' stands for K behind the gradient. Exact where epsilon is zero, and to order 1/m where it is not (for
two tokens of different y but for (y - y')^2 / 4m).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.polynomial import Chebyshev, Polynomial
from numpy.polynomial.legendre import leggauss
from scipy.special import gammaln, hyp2f1

from ..base.errors import AssumptionError
from ..base.tables import made_once
from .closed_forms import Array
from .spline import Spline1D

#: terms of a hypergeometric series at most, and the size of its last one that is beyond rounding; where more
#: are needed scipy's function takes over
MOST_TERMS, SMALLEST = 128, 1e-18

#: cells of the table in 1 - rho, denser towards one token; errors of its splines fall as their fourth power
CELLS = 256

#: nodes of Gauss' rule for the mean slope between two tokens: its error is below rounding
NODES = 16


class HeadNorm:
    """Kernel of a norm over ``size`` independent Gaussian coordinates, those of queries; and of one over
    ``shared``, those of keys and values where heads share them.

    Attributes:
        size: m, the coordinates that are free.
        epsilon: what is added to the mean square of all ``size`` coordinates under the root.

    Raises:
        AssumptionError: fewer than three are free, where the norm's gradient has no second moment.
    """

    def __init__(self, size: int, kind: str, shared: int | None = None, epsilon: float = 0.0) -> None:
        self.size, self.epsilon = size - (kind == "layer"), epsilon
        if self.size < 3:
            raise AssumptionError(
                f"a norm over heads of width {size} has no finite gradient variance; use at least 4 "
                "coordinates per head"
            )
        self._added = epsilon * size / self.size  # of LayerNorm: fewer coordinates make up the mean square
        self._table = _table(self.size)
        self._shared = None if shared is None else HeadNorm(shared, kind, epsilon=epsilon)

    def of(self, name: str) -> HeadNorm:
        """The kernel of "query", "key" or "value"."""
        return self if name == "query" or self._shared is None else self._shared

    def share(self, moment: Any) -> Any:
        """y, what epsilon leaves of a second moment, which is not zero; 1 without."""
        return moment / (moment + self._added)

    def moment(self, share: Any) -> Any:
        """a, the second moment behind the norm of a vector of which the ``share`` y is left."""
        return share * (1 - 2 * share * (1 - share) / self.size)

    def value(self, rho: Any, both: Any = 1.0) -> Any:
        """The mean cosine of two normalised vectors, K(rho) without epsilon; ``both`` is y y'."""
        rho = np.clip(rho, -1, 1)
        return rho + both * (_value(self.size, rho) - rho)

    def slope(self, rho: Any, both: Any = 1.0) -> Any:
        """The slope of :meth:`value`; the backward gain of the norm is a/q times that."""
        return 1 + both * (_slope(self.size, np.clip(rho, -1, 1)) - 1)

    def drop(self, apart: float, both: float = 1.0) -> float:
        """1 less :meth:`value` at the cosine 1 - ``apart``, for the loop over layers."""
        return apart + both * (self._drop(apart) - apart)

    def _drop(self, apart: float) -> float:
        """1 - K at the cosine 1 - ``apart``.

        To 2e-10 of itself, however close two vectors are, over five coordinates and more; to 5e-8 over four
        and 2e-4 over three, where K' has a root at one token.
        """
        if apart > 1:  # K is odd
            return 2 - self._drop(2 - apart) if apart < 2 else 2.0
        return apart * self._table.at(apart)[0]

    def all(self, apart: Array, both: Any = 1.0) -> Array:
        """1 less :meth:`value`, its slope, and the slope's fall from 1, at the cosines 1 - ``apart``,
        (layers,); shape (3, layers).

        The last is right to 5e-4 of itself; over four coordinates not for ``apart`` below 1e-5, where it
        vanishes.
        """
        near = np.clip(np.minimum(apart, 2 - apart), 0, 1)
        drop, slope, fall = self._table(near)
        drop = near * drop
        drop = apart + both * (np.where(apart > 1, 2 - drop, drop) - apart)
        return np.stack([drop, 1 + both * (slope - 1), both * near ** _order(self.size) * fall])


@made_once(maxsize=256)
def _table(size: int) -> Spline1D:
    """(1 - K)/(1 - rho), K' and K'(1) - K' over its order, as functions of 1 - rho from 0 to 1."""
    apart, (t, weights) = np.linspace(0, 1, CELLS + 1) ** 3, leggauss(NODES)
    slope = _slope(size, 1 - apart)
    # the mean of the slope on the way there, over steps in which its root at one token is smooth
    t = (t + 1) / 2
    drop = _slope(size, 1 - np.multiply.outer(apart, t**2)) @ (weights * t)
    fall = (slope[0] - slope[1:]) / apart[1:] ** _order(size)
    bend = _bend(size) if size > 4 else fall[0] * (size == 3)
    return Spline1D(apart, np.stack([drop, slope, np.append(bend, fall)], axis=1))


def _order(size: int) -> float:
    """The power of 1 - rho that K'(1) - K' begins with; over four coordinates with a logarithm."""
    return 1.0 if size > 4 else 0.5


def _value(size: int, rho: Any) -> Any:
    even = _hyp2f1(0.5, size / 2 + 1)
    return rho * even(rho**2) / even(1.0)  # g^2 makes K(1) = 1


def _slope(size: int, rho: Any) -> Any:
    even, odd = _hyp2f1(0.5, size / 2 + 1), _hyp2f1(1.5, size / 2 + 2)
    return (even(rho**2) + rho**2 / (size + 2) * odd(rho**2)) / even(1.0)


def _bend(size: int) -> float:
    """K''(1), by Gauss' theorem."""
    half = size / 2
    third = np.exp(gammaln(half + 3) + gammaln(half - 2) - 2 * gammaln(half + 0.5))
    even, odd = _hyp2f1(0.5, half + 1), _hyp2f1(1.5, half + 2)
    return float((3 * odd(1.0) + 9 / (size + 4) * third) / (size + 2) / even(1.0))


@lru_cache(maxsize=256)
def _hyp2f1(a: float, c: float) -> Callable[[Any], Any]:
    """2F1(a, a; c; x) on [0, 1]: where ``MOST_TERMS`` of its series suffice their sum in fewer Chebyshev
    polynomials; else scipy's, which is undefined for c beyond about 100."""
    k = np.arange(MOST_TERMS)
    terms = np.cumprod(np.concatenate([[1.0], (a + k) ** 2 / ((c + k) * (k + 1))]))
    if terms[-1] > SMALLEST:
        return partial(hyp2f1, a, a, c)
    series: Chebyshev = Polynomial(terms)(Polynomial([0.5, 0.5])).convert(kind=Chebyshev).trim(SMALLEST)
    return lambda x: series(2 * x - 1)
