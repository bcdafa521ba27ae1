r"""RMSNorm and LayerNorm: the torch operation, and the exact kernel of a norm over few coordinates.

Over the d coordinates of a stream a norm divides by the root of the second moment; what it does beyond
that is O(1/d). Over the d_h coordinates of an attention head it is not negligible: for Gaussian (u, v)
with correlation rho per coordinate,

    K(rho) = E[u.v / (|u| |v|)] = rho g^2 2F1(1/2, 1/2; d/2 + 1; rho^2),
    g^2 = 2 Gamma((d+1)/2)^2 / (d Gamma(d/2)^2)

and by Price's theorem E tr(J_u J_v^T)/d = K'(rho)/q, which is (1/q)(d-1)/(d-2) at rho = 1. The
kernel is the mean of a sample correlation (Muirhead, Aspects of Multivariate Statistical Theory,
1982, section 5.1). LayerNorm removes one coordinate: d becomes d - 1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.polynomial import Chebyshev, Polynomial
from scipy.special import gammaln, hyp2f1
from sympy import Float, Symbol, lambdify

from ..errors import AssumptionError

if TYPE_CHECKING:
    import torch


#: terms of a hypergeometric series at most, and what is beyond rounding
MOST_TERMS, SMALLEST = 128, 1e-18

#: 1 - rho below which drops follow from the derivatives at one token
CLOSE = 1e-5


class HeadNorm:
    """Kernel of a norm over ``size`` independent Gaussian coordinates."""

    def __init__(self, size: int, kind: str) -> None:
        self.size = size - (kind == "layer")
        if self.size < 3:
            raise AssumptionError(
                f"a norm over heads of width {size} has no finite gradient variance; use at least 4 "
                "coordinates per head"
            )
        half = self.size / 2
        self._even, self._odd = _hyp2f1(0.5, half + 1), _hyp2f1(1.5, half + 2)
        self._front = 1 / float(self._even(1.0))  # g^2, as K(1) = 1
        # K'(1) and K''(1), and 1 - rho below which they make up drops
        self._steep, self._bend, self._close = float(self.slope(1.0)), 0.0, 0.0
        if self.size > 4:
            third = float(np.exp(gammaln(half + 3) + gammaln(half - 2) - 2 * gammaln(half + 0.5)))  # Gauss
            self._bend = self._front / (self.size + 2) * (3 * self._odd(1.0) + 9 / (self.size + 4) * third)
            self._close = CLOSE

    def value(self, rho: Any) -> Any:
        """K(rho), the mean cosine of two normalised vectors."""
        rho = np.clip(rho, -1, 1)
        return rho * self._front * self._even(rho**2)

    def drop(self, apart: Any) -> Any:
        """1 - K(1 - apart), to seven digits however close two vectors are, over five coordinates and more."""
        near = apart * (self._steep - self._bend * apart / 2)
        if not isinstance(apart, float):
            return np.where(apart < self._close, near, 1 - self.value(1 - apart))
        rho = 1 - apart if apart < 2 else -1.0  # np.clip would take longer than all else in the layer loop
        return near if apart < self._close else float(1 - rho * self._front * self._even(rho * rho))

    def slope(self, rho: Any) -> Any:
        """K'(rho); the backward gain of the norm is K'/q."""
        x = np.clip(rho, -1, 1) ** 2
        return self._front * (self._even(x) + x / (self.size + 2) * self._odd(x))

    def slope_drop(self, apart: Any) -> Any:
        """K'(1) - K'(1 - apart), to five digits however close, over more than five coordinates."""
        return np.where(apart < self._close, apart * self._bend, self.slope(1.0) - self.slope(1 - apart))


@lru_cache(maxsize=256)
def _hyp2f1(a: float, c: float) -> Callable[[Any], Any]:
    """2F1(a, a; c; x) on [0, 1]: where ``MOST_TERMS`` of its series suffice their sum in fewer Chebyshev
    polynomials, in Horner's form and compiled, as it is evaluated once for each layer; else scipy's, which
    is undefined for c beyond about 100."""
    k = np.arange(MOST_TERMS)
    terms = np.cumprod(np.concatenate([[1.0], (a + k) ** 2 / ((c + k) * (k + 1))]))
    if terms[-1] > SMALLEST:
        return partial(hyp2f1, a, a, c)
    series = Polynomial(terms)(Polynomial([0.5, 0.5])).convert(kind=Chebyshev).trim(SMALLEST)
    total, x = Float(0), Symbol("x")
    for coefficient in series.convert(kind=Polynomial).coef[::-1]:
        total = total * (2 * x - 1) + Float(coefficient)
    compiled: Callable[[Any], Any] = lambdify(x, total, "math", cse=True)
    return compiled


def normalise(x: torch.Tensor, kind: str) -> torch.Tensor:
    """RMSNorm ("rms") or LayerNorm ("layer") over the last axis, gain 1, epsilon 0."""
    if kind == "layer":
        x = x - x.mean(-1, keepdim=True)
    return x * x.square().mean(-1, keepdim=True).rsqrt()
