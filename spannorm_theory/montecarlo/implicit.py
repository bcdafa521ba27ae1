r"""Weight matrices that are never made: the same law from the geometry of what they multiply.

Let W (inputs x outputs) have i.i.d. N(0, s^2) entries and meet X (tokens x inputs) once forward and G
(tokens x outputs) once backward. What a pass observes of W is X W, G W^T and functions of X and G such as
|X^T G|; nothing else.

Forward. Factor X = R V^T with V^T V = 1 (on the range of X). Then X W = s R Z with Z = V^T W / s. V is
a function of X, hence of what came before W was touched, and W is independent of that; by rotation
invariance Z has i.i.d. N(0, 1) entries, whatever X is. Drawing Z instead of W has the same joint law
with everything before. Given all of that, W = s (V Z + (1 - V V^T) W~) where W~ is a fresh standard
Gaussian matrix: the orthogonal complement of V sees entries of W that are independent of Z.

Backward. G is a function of X, Z, the other weights and the loss, all independent of W~. Hence, given
everything observed so far,

    G W^T = s [ (G Z^T) V^T + (G W~^T) (1 - V V^T) ],

and for fixed G the rows of G W~^T are jointly Gaussian with covariance (G G^T) x 1, so that
G W~^T = F E in law with F F^T = G G^T and E (tokens x inputs) standard Gaussian. Both steps are exact
at any width. The squared norm of the weight gradient, |X^T G|^2 = <X X^T, G G^T>, is a function of
what has been drawn. Matrices that read the same X (query, key and value; gate and up) share V, and as
only the sum of their G W^T is observed, one draw with the sum of s^2 G G^T replaces one for each.

Where it needs single use: a second product with another X' would have to be drawn given the first, and
after the backward product W~ is no longer fresh. :class:`Weights` therefore refuses a second use, and a
block that is computed again for its backward pass draws the same Z from the same seed.

Numbers. R and F come from Cholesky factors of n x n Grams in float64. Grams are taken of token modes (the
token mean apart from the differences) with rows scaled to one, so that collapsed tokens lose no digits,
and get 16 n eps64 on the diagonal, the size of float32's own rounding of a mode: dependent, equal or
zero rows need no special case. A bidirectional QR costs ten times as much on CPUs, and so does a
float64 eigendecomposition.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..errors import InputError
from ..metrics import gram, product_norm, token_modes
from .randomness import Purpose, Randomness
from .weights import Matrix, Weights

#: matrices that read the same input
GROUPS = (
    ("attn.query", "attn.key", "attn.value"),
    ("attn.output",),
    ("ffn.gate", "ffn.up"),
    ("ffn.down",),
)


class ImplicitWeights(Weights):
    """Products with Gaussian matrices, drawn from what the matrices have been seen to do."""

    def __init__(self, matrices: Mapping[str, Matrix], random: Randomness, layer: int) -> None:
        super().__init__(matrices, random, layer)
        groups = (tuple(name for name in group if name in matrices) for group in GROUPS)
        self._groups = [group for group in groups if group]
        self._pending: dict[str, torch.Tensor] = {}
        self._source: torch.Tensor | None = None
        self._draws: dict[Purpose, tuple[torch.Tensor, ...]] = {}

    def _apply(self, x: torch.Tensor, name: str) -> torch.Tensor:
        if name not in self._pending:
            position = next(i for i, group in enumerate(self._groups) if name in group)
            group = self._groups[position]
            outputs = ImplicitProduct.apply(x, self, position)
            self._source = x
            self._pending.update(zip(group, outputs, strict=True))
        elif x is not self._source:
            raise InputError(
                f"{name} reads another input than the matrices it is drawn together with; use engine='explicit'"
            )
        y = self._pending.pop(name)
        if not self._pending:
            self._source = None  # a graph that reaches this object must not be reachable from it
        return y

    def group(self, position: int) -> tuple[str, ...]:
        """Names of the matrices that are drawn together."""
        return self._groups[position]

    def draw(self, purpose: Purpose, position: int, tokens: int) -> torch.Tensor:
        """Standard Gaussians for a group: (networks, tokens, all outputs) forward, (.., inputs) backward."""
        if purpose not in self._draws:
            sizes = [self._columns(purpose, group) * tokens for group in self._groups]
            numbers = self._random.normal(self._layer, purpose, sum(sizes))
            self._draws[purpose] = numbers.split(sizes, dim=1)
        return self._draws[purpose][position].unflatten(1, (tokens, -1))

    def _columns(self, purpose: Purpose, group: tuple[str, ...]) -> int:
        if purpose is Purpose.FORWARD:
            return sum(self.matrices[name].outputs for name in group)
        return self.matrices[group[0]].inputs


class ImplicitProduct(torch.autograd.Function):
    """X W for every W of a group, and what the backward pass sees of them."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weights: ImplicitWeights, position: int) -> tuple[torch.Tensor, ...]:
        """s T R Z for each matrix; T goes back from token modes to tokens."""
        group = weights.group(position)
        matrices = [weights.matrices[name] for name in group]
        z = weights.draw(Purpose.FORWARD, position, x.shape[1])
        parts = z.split([m.outputs for m in matrices], dim=2)
        modes = token_modes(x).double()
        k = gram(modes)
        scale, c = factor(k)
        root = token_modes(scale[..., None] * c).to(x.dtype)
        ctx.weights, ctx.position = weights, position
        if x.requires_grad:
            basis = orthonormal(modes, scale, c).to(x.dtype)
            ctx.save_for_backward(basis, k, *parts)
        return tuple(torch.bmm(m.std * root, part) for m, part in zip(matrices, parts, strict=True))

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The sum of G W^T over the group."""
        basis, k, *parts = ctx.saved_tensors
        weights = ctx.weights
        total, seen = torch.zeros_like(k), k.new_zeros(k.shape, dtype=basis.dtype)
        for name, g, z in zip(weights.group(ctx.position), grads, parts, strict=True):
            std = weights.matrices[name].std
            modes = token_modes(g)
            own = gram(modes)
            weights.grad_norms[name] = product_norm(k, own)
            total.add_(own, alpha=std**2)
            seen.baddbmm_(modes.to(z.dtype), z.mT, alpha=std)
        scale, c = factor(total)
        noise = weights.draw(Purpose.BACKWARD, ctx.position, basis.shape[1])
        fresh = torch.bmm(token_modes(scale[..., None] * c).to(basis.dtype), noise)
        return conditional(token_modes(seen), fresh, basis), None, None


def conditional(seen: torch.Tensor, fresh: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
    """(G Z^T) V^T + (G W~^T) (1 - V V^T) from G Z^T, G W~^T and V^T."""
    return torch.baddbmm(fresh, seen - torch.bmm(fresh, basis.mT), basis)


def factor(k: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scales t (networks, n) and lower triangular C with K = diag(t) C C^T diag(t), for a Gram K that
    may be singular. A factorisation that fails (K not finite) is NaN."""
    n = k.shape[-1]
    scale = k.diagonal(dim1=-2, dim2=-1).sqrt()
    inverse = _reciprocal(scale)
    unit = k * (inverse[..., :, None] * inverse[..., None, :])
    unit.diagonal(dim1=-2, dim2=-1).add_(16 * n * torch.finfo(torch.float64).eps)
    c, failed = torch.linalg.cholesky_ex(unit)
    return torch.where(failed[..., None] == 0, scale, torch.nan), c


def orthonormal(modes: torch.Tensor, scale: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    """V^T = C^{-1} diag(1/t) X for the token modes X; float64 of shape (networks, n, inputs)."""
    root = torch.where(scale == 0, 1.0, scale)[..., None] * c
    return torch.linalg.solve_triangular(root.mT, modes.mT, upper=True, left=False).mT


def _reciprocal(scale: torch.Tensor) -> torch.Tensor:
    return torch.where(scale > 0, 1 / scale, 0.0)
