r"""Singular values of a product of Gaussian samples (T13.4).

With X^T Delta = sqrt(d_in d_out) Z_1^T Q^1/2 Gamma^1/2 Z_2, the Z of n rows of variance 1/d_in and 1/d_out,
and lambda_i the eigenvalues of Q Gamma, the squared singular values mu over d_in d_out are those of Q Gamma
times two Marchenko-Pastur laws. With F(w) = sum_i lambda_i w / (1 + lambda_i w) and

    s(w) = (1 - F/d_in) (1 - F/d_out) / w,    sum mu / (mu + s) = F,

so that sum sqrt(mu) = (2/pi) int sqrt(s) dF: explicit, for any lambda. A mode's part of it is lambda_i times

    kappa_i = (2/pi) int_0^inf sqrt(s(w)) / (1 + lambda_i w)^2 dw,    lambda_i^(-1/2) for wide matrices.

Where Q or Gamma are samples themselves, each of D degrees multiplies s by another (1 - F/D).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .closed_forms import Array

#: step of the trapezoidal rule in ln w, and how far it goes beyond the inverses of the largest and of the
#: smallest eigenvalue: the integrand falls as w^(1/2) below, and as w^(-3/2) above
STEP, BELOW, ABOVE = 0.25, 44.0, 16.0

#: eigenvalues below this share of the largest one are zero
ZERO = 1e-10


def mode_roots(eigenvalues: Array, degrees: Sequence[float], copies: int = 1) -> Array:
    """kappa of each mode, zero where its eigenvalue is.

    Args:
        eigenvalues: lambda, (modes,).
        degrees: of the samples, d_in and d_out and what more there are.
        copies: how often each mode is there.
    """
    kept = eigenvalues > ZERO * eigenvalues.max()
    found = np.zeros_like(eigenvalues)
    if not kept.any():
        return found
    values = eigenvalues[kept]
    w = np.exp(np.arange(-np.log(values.max()) - BELOW, -np.log(values.min()) + ABOVE, STEP))
    share = values * w[:, None] / (1 + values * w[:, None])
    rank = copies * share.sum(axis=-1)
    left = np.prod([np.maximum(1 - rank / degree, 0) for degree in degrees], axis=0)
    root = np.sqrt(left * w)[:, None]
    found[kept] = 2 / np.pi * STEP * (root / (1 + values * w[:, None]) ** 2).sum(axis=0)
    return found
