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
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import gammaln, hyp2f1
from sympy import Float, Symbol, lambdify

from ..errors import AssumptionError

if TYPE_CHECKING:
    import torch


#: terms of a hypergeometric series at most
MOST_TERMS = 40


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
        self._front = float(np.exp(2 * (gammaln(half + 0.5) - gammaln(half))) / half)

    def value(self, rho: Any) -> Any:
        """K(rho), the mean cosine of two normalised vectors."""
        if isinstance(rho, float):
            rho = max(-1.0, min(rho, 1.0))
            return float(rho * self._front * _hyp2f1(0.5, self.size / 2 + 1, rho * rho))
        rho = np.clip(rho, -1, 1)
        return rho * self._front * _hyp2f1(0.5, self.size / 2 + 1, rho**2)

    def slope(self, rho: Any) -> Any:
        """K'(rho); the backward gain of the norm is K'/q."""
        c = self.size / 2 + 1
        x = np.clip(rho, -1, 1) ** 2
        return self._front * (_hyp2f1(0.5, c, x) + x / (2 * c) * _hyp2f1(1.5, c + 1, x))


def _hyp2f1(a: float, c: float, x: Any) -> Any:
    """2F1(a, a; c; x) on [0, 1]: few terms of the series where they suffice, which is faster than scipy's and
    works for c beyond about 100, where that is undefined."""
    series = _series(a, c)
    return hyp2f1(a, a, c, x) if series is None else series(x)


@lru_cache(maxsize=256)
def _series(a: float, c: float) -> Callable[[Any], Any] | None:
    """The series in Horner's form, compiled: it is evaluated once for each layer. None where more than
    ``MOST_TERMS`` terms are beyond rounding at x = 1."""
    k = np.arange(MOST_TERMS)
    terms = np.cumprod(np.concatenate([[1.0], (a + k) ** 2 / ((c + k) * (k + 1))]))
    terms = terms[terms > 1e-18]
    if len(terms) > MOST_TERMS:
        return None
    x = Symbol("x")
    total = Float(terms[-1])
    for term in terms[-2::-1]:
        total = total * x + Float(term)
    compiled: Callable[[Any], Any] = lambdify(x, total, "numpy")
    return compiled


def normalise(x: torch.Tensor, kind: str) -> torch.Tensor:
    """RMSNorm ("rms") or LayerNorm ("layer") over the last axis, gain 1, epsilon 0."""
    if kind == "layer":
        x = x - x.mean(-1, keepdim=True)
    return x * x.square().mean(-1, keepdim=True).rsqrt()
