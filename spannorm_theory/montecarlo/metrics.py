"""Statistics of token representations, one definition each, on torch tensors.

A representation is X of shape (..., tokens, width), one sequence for each network: metrics are taken of
each sequence, means over networks come after. Everything is accumulated in float64. The energy of X
splits into the token-mean mode M = n |mean|^2 and the difference modes D = sum_i |x_i - mean|^2; the token
cosine is taken from D, which stays accurate when all tokens have become nearly the same.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def second_moments(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Variance and token cosine of X; each of shape (...).

    Returns:
        q, the mean over tokens and coordinates of x^2, and rho = p / q, p the mean over ordered pairs
        of distinct tokens of x_s.x_t / width: rho = 1 - n D / ((n - 1) (M + D)).
    """
    x = x.double()
    mean = x.mean(-2, keepdim=True)
    return _moments(x.shape[-2] * _energy(mean), _energy(x - mean), *x.shape[-2:])


def gram_moments(modes_gram: torch.Tensor, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """:func:`second_moments` from the Gram of :func:`token_modes`."""
    energies = modes_gram.diagonal(dim1=-2, dim2=-1)
    return _moments(energies[..., 0], energies[..., 1:].sum(-1), modes_gram.shape[-1], width)


def _moments(
    common: torch.Tensor, differences: torch.Tensor, tokens: int, width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    energy = common + differences
    return energy / (tokens * width), 1 - tokens / (tokens - 1) * differences / energy


def _energy(x: torch.Tensor) -> torch.Tensor:
    import torch

    norm: torch.Tensor = torch.linalg.vector_norm(x, dim=(-2, -1))
    return norm.square()


def position_moments(x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Mean over coordinates of x^2 at the tokens with these indices; shape (..., positions)."""
    return x.index_select(-2, positions).double().square().mean(-1)


def block_change(before: torch.Tensor, after: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine of X across a block and the share of its update; each of shape (...).

    Returns:
        layer_cosine = sum <x_l, x_{l+1}> / sqrt(sum |x_l|^2 sum |x_{l+1}|^2) and
        branch_share = sum |x_{l+1} - x_l|^2 / sum |x_l|^2, sums over tokens.
    """
    before, after = before.double(), after.double()
    energy, final, update = _energy(before), _energy(after), _energy(after - before)
    dot = (energy + final - update) / 2  # an absolute error of rounding in the cosine
    return dot / (energy.sqrt() * final.sqrt()), update / energy


def token_modes(x: torch.Tensor) -> torch.Tensor:
    """T X with T the orthogonal, symmetric tokens x tokens reflection that takes the token mean to row 0:
    row 0 is sqrt(n) times the mean, the others span the differences between tokens."""
    x = x if x.dtype.itemsize >= 4 else x.float()
    if x.shape[-2] == 1:
        return x
    root = math.sqrt(x.shape[-2])
    mean = x.mean(-2, keepdim=True)
    modes = x - mean.lerp(x[..., :1, :], 1 / (1 - root))  # (root mean - x_0) / (root - 1)
    modes[..., :1, :] = root * mean
    return modes


def log_rank_residual(modes_gram: torch.Tensor) -> torch.Tensor:
    """ln of |X - 1 xbar^T|_F / |X|_F, xbar the token mean; from the Gram of :func:`token_modes`, (...)."""
    energies = modes_gram.diagonal(dim1=-2, dim2=-1)
    return 0.5 * (energies[..., 1:].sum(-1) / energies.sum(-1)).log()


def rank_metrics(modes_gram: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Stable rank, effective rank and participation ratio of X, each of shape (...).

    They are of the raw X (no token mean or feature mean is taken out), of one sequence. With singular
    values s_i = sqrt(lambda_i) of X, lambda_i the eigenvalues of its token Gram G:

        stable rank          |X|_F^2 / |X|_2^2 = sum lambda_i / max lambda_i
        effective rank       exp(-sum p_i ln p_i), p_i = s_i / sum s_j    (Roy and Vetterli, 2007)
        participation ratio  (tr G)^2 / tr G^2

    Args:
        modes_gram: Gram of :func:`token_modes`, float64; NaN comes out where it is not finite.
    """
    import torch

    finite = modes_gram.isfinite().all(-1).all(-1)[..., None, None]
    unit = torch.eye(modes_gram.shape[-1], dtype=modes_gram.dtype, device=modes_gram.device)
    eigenvalues = torch.linalg.eigvalsh(torch.where(finite, modes_gram, unit)).clamp(min=0)
    eigenvalues = torch.where(finite[..., 0], eigenvalues, torch.nan)
    share = eigenvalues / eigenvalues.sum(-1, keepdim=True)
    p = share.sqrt() / share.sqrt().sum(-1, keepdim=True)
    entropy = -torch.special.xlogy(p, p).sum(-1)
    return 1 / share[..., -1], entropy.exp(), 1 / share.square().sum(-1)


def gram(x: torch.Tensor) -> torch.Tensor:
    """X X^T in float64; shape (..., tokens, tokens)."""
    x = x.double()
    return x @ x.mT


def product_norm(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """|X^T G|_F^2 from the Grams of X and G, without the width x width product; shape (...). Grams of
    :func:`token_modes` keep the parts apart that cancel when tokens are nearly the same."""
    return (left * right).sum((-2, -1))
