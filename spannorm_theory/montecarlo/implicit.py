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

Numbers. R and F come from Cholesky factors of n x n Grams in float64, of token modes (the token mean
apart from the differences) with rows scaled to one, so that collapsed tokens lose no digits. Each row
t_i of X is given one more input of its own, of relative size sqrt(e), e = 16 n eps64: less than what
float32 rounds a mode by. The wider X has full rank whatever X is, all of the above holds exactly for it,
and of its G W^T the extra inputs are dropped, so dependent, equal or zero rows need no special case.
For G the same e only widens the draw. Where tokens are copies up to rounding, so is the basis of their
differences: another processor draws other numbers, of the same law. On CPUs a QR decomposition of X costs
as much as all this, and a float64 eigendecomposition of the Gram ten times its Cholesky factor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..base.errors import InputError
from ..spec.graph import GATES
from .metrics import gram, product_norm, token_modes
from .randomness import Purpose, Randomness
from .weights import Matrix, RandomWeights

#: matrices that read the same input; experts number theirs, and each expert's are a group of their own
GROUPS = (
    ("attn.query", "attn.key", "attn.value", "attn.gate", "attn.query_down", "attn.key_down"),
    ("attn.output",),
    ("ffn.gate", "ffn.up"),
    ("ffn.down",),
    ("ffn.router",),
    ("ffn.shared_gate",),
)

#: matrices that read what a down projection puts out, where there is one
LATENT = (("attn.query_down", ("attn.query",)), ("attn.key_down", ("attn.key", "attn.value")))

#: scale of a row of zeros; its square is zero too
ZERO = 1e-200


class ImplicitWeights(RandomWeights):
    """Products with Gaussian matrices, drawn from what the matrices have been seen to do."""

    whole = True

    def __init__(self, matrices: Mapping[str, Matrix], random: Randomness, layer: int) -> None:
        super().__init__(matrices, random, layer)
        numbers = list(dict.fromkeys(name.partition(".")[2].partition(".")[2] for name in matrices))
        latent = [own for down, own in LATENT if down in matrices]
        others = set(matrices).difference(*latent)
        stems = (tuple(f"{name}.{i}" if i else name for name in group) for group in GROUPS for i in numbers)
        groups = [*(tuple(name for name in group if name in others) for group in stems), *latent]
        groups += [(name,) for name in matrices if name.startswith(tuple(GATES.values()))]
        self._groups = [group for group in groups if group]
        #: outputs that are drawn and not yet asked for, each with its input
        self._pending: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        self._draws: dict[Purpose, tuple[torch.Tensor, ...]] = {}

    def _apply(self, x: torch.Tensor, name: str) -> torch.Tensor:
        if name not in self._pending:
            position = next(i for i, group in enumerate(self._groups) if name in group)
            group = self._groups[position]
            outputs = ImplicitProduct.apply(x, self, position)  # type: ignore[no-untyped-call]
            self._pending.update({own: (y, x) for own, y in zip(group, outputs, strict=True)})
        y, source = self._pending.pop(name)  # a graph that reaches this object must not be reachable from it
        if x is not source:
            raise InputError(
                f"{name} reads another input than the matrices that are drawn together with it; use "
                "engine='explicit'"
            )
        return y

    def group(self, position: int) -> tuple[str, ...]:
        """Names of the matrices that are drawn together."""
        return self._groups[position]

    def draw(self, purpose: Purpose, position: int, tokens: int) -> torch.Tensor:
        """Standard Gaussians for a group: (networks, tokens, outputs of all its matrices) forward,
        (networks, tokens, inputs + tokens) backward."""
        if purpose not in self._draws:
            sizes = [self._columns(purpose, group, tokens) * tokens for group in self._groups]
            numbers = self._random.normal(self._layer, purpose, sum(sizes))
            self._draws[purpose] = torch.split(numbers, sizes, 1)
        numbers = self._draws[purpose][position]
        return numbers.view(len(numbers), tokens, -1)

    def _columns(self, purpose: Purpose, group: tuple[str, ...], tokens: int) -> int:
        if purpose is Purpose.FORWARD:
            return sum(self.matrices[name].outputs for name in group)
        return self.matrices[group[0]].inputs + tokens


class ImplicitProduct(torch.autograd.Function):
    """X W for every W of a group, and what the backward pass sees of them."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weights: ImplicitWeights, position: int
    ) -> tuple[torch.Tensor, ...]:
        """s T R Z for each matrix; T goes back from token modes to tokens."""
        group = weights.group(position)
        matrices = [weights.matrices[name] for name in group]
        tokens, inputs = x.shape[1:]
        z = weights.draw(Purpose.FORWARD, position, tokens)
        parts = torch.split(z, [m.outputs for m in matrices], 2)
        wide = x.new_empty((len(x), tokens, inputs + tokens), dtype=torch.float64)
        modes = wide[..., :inputs].copy_(token_modes(x))
        k = torch.bmm(modes, modes.mT)
        scale, c = factor(k)
        lower = scale[..., None] * c
        # a token that is zero has an output of zero, and not of rounding errors that a norm would blow up
        root = token_modes(lower).to(x.dtype) * (x != 0).any(-1, keepdim=True)
        ctx.weights, ctx.position = weights, position
        if x.requires_grad:
            wide[..., inputs:] = torch.diag_embed(widening(tokens) ** 0.5 * scale)
            ctx.save_for_backward(orthonormal(wide, lower).to(x.dtype), k, *parts)
        return tuple(torch.bmm(m.std * root, part) for m, part in zip(matrices, parts, strict=True))

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The sum of G W^T over the group."""
        basis, k, *parts = ctx.saved_tensors
        weights = ctx.weights
        total, seen = torch.zeros_like(k), k.new_zeros(k.shape, dtype=basis.dtype)
        for name, g, z in zip(weights.group(ctx.position), grads, parts, strict=True):
            std = weights.matrices[name].std
            own = gram(token_modes(g))
            weights.grad_norms[name] = product_norm(k, own)
            total.add_(own, alpha=std**2)
            seen.baddbmm_(g.to(z.dtype), z.mT, alpha=std)
        scale, c = factor(total)
        root = token_modes(scale[..., None] * c).to(basis.dtype)
        e = weights.draw(Purpose.BACKWARD, ctx.position, basis.shape[1])
        return conditional(seen, root, e, basis), None, None


def conditional(seen: torch.Tensor, root: torch.Tensor, e: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
    """(G Z^T) V^T + F E (1 - V V^T) from G Z^T, F, E and V^T, without the extra inputs."""
    inputs = basis.shape[2] - basis.shape[1]
    seen = torch.baddbmm(seen, root, torch.bmm(e, basis.mT), alpha=-1)
    return torch.bmm(seen, basis[..., :inputs]).baddbmm_(root, e[..., :inputs])


def factor(k: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scales t (networks, n) and lower triangular C with K = diag(t) C C^T diag(t), for a Gram K that
    may be singular; t is NaN where K is not finite."""
    scale = k.diagonal(dim1=-2, dim2=-1).sqrt().clamp_(min=ZERO)
    unit = (k / scale[..., None]).div_(scale[..., None, :])
    unit.diagonal(dim1=-2, dim2=-1).add_(widening(k.shape[-1]))
    c, failed = torch.linalg.cholesky_ex(unit)
    return scale.masked_fill_(failed[..., None] != 0, torch.nan), c


def orthonormal(wide: torch.Tensor, lower: torch.Tensor) -> torch.Tensor:
    """V^T = (diag(t) C)^{-1} (X, sqrt(e) diag(t)), in the memory of the wider X it is given."""
    v = wide.mT
    torch.linalg.solve_triangular(lower.mT, v, upper=True, left=False, out=v)
    return wide


def widening(tokens: int) -> float:
    """e: the share of a row's energy that its extra input has."""
    return 16 * tokens * torch.finfo(torch.float64).eps
