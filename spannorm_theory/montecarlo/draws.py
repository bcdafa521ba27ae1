"""Laws of the entries of a weight matrix, all of second moment 1, as functions of standard normal numbers."""

from __future__ import annotations

from math import exp, pi, sqrt

import torch
from scipy.special import ndtr

#: standard deviations of the underlying normal at which "truncated" cuts it off, and that of what is left
CUT = 2.0
LEFT = sqrt(1 - 2 * CUT * exp(-(CUT**2) / 2) / sqrt(2 * pi) / float(2 * ndtr(CUT) - 1))


def drawn(numbers: torch.Tensor, draw: str) -> torch.Tensor:
    """Matrices (..., inputs, outputs) of the law ``draw`` from as many standard normal ``numbers``.

    "truncated" and "uniform" move each number to its own quantile. "orthogonal" is uniform over the matrices
    with orthogonal rows or columns, whichever are fewer, of equal length.
    """
    wide = numbers.double() if numbers.dtype == torch.float64 else numbers.float()
    match draw:
        case "truncated":
            below, above = float(ndtr(-CUT)), float(ndtr(CUT))
            found = torch.special.ndtri(below + (above - below) * torch.special.ndtr(wide)) / LEFT
        case "uniform":
            found = sqrt(3) * torch.special.erf(wide / sqrt(2))
        case "orthogonal":
            found = _orthogonal(wide) if wide.shape[-2] >= wide.shape[-1] else _orthogonal(wide.mT).mT
        case _:
            return numbers
    result: torch.Tensor = found.to(numbers.dtype)
    return result


def _orthogonal(tall: torch.Tensor) -> torch.Tensor:
    """Orthogonal columns of length sqrt(rows): those of a QR decomposition with a positive diagonal of R."""
    q, r = torch.linalg.qr(tall)
    sign = r.diagonal(dim1=-2, dim2=-1).sign()
    found: torch.Tensor = q * (sign * sqrt(tall.shape[-2]))[..., None, :]
    return found
