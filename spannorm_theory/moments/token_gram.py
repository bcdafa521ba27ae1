"""One block of the position-resolved theory: its trace on token Grams, there and back (T10.1, T10.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv
from sympy import Expr

from ..gaussian.closed_forms import Array
from ..layers.attention_gram import SampledAttention
from ..layers.dropout import dropped_gram
from ..layers.experts import MixtureOfExperts
from ..layers.feedforward import FeedForward
from ..layers.multiplier import multiplier_grad_gram
from ..layers.pointwise import Pointwise
from ..spec.architecture import Architecture
from ..spec.expressions import over_layers
from ..spec.graph import Branch, Trace
from .adjoint import Adjoint
from .algebra import GRAM, Moments
from .branches import QUADRATIC_IN_DROP, branch_gram_moments
from .schedule import branch_gains

Component = SampledAttention | FeedForward | Pointwise

#: samples of a stream's coordinates whose spectra are averaged in one run; the error falls as its root
SPECTRA = 4

#: token Grams of every pair of streams, (tokens, tokens) each
Grams = list[list[Array]]


@dataclass(frozen=True)
class Draws:
    """The random numbers of one run; ``ids`` are the tokens of its input where that has any, (tokens,)."""

    seed: tuple[int, int]
    heads: int
    arch: Architecture
    ids: NDArray[np.int64] | None = None

    def __call__(self, layer: int) -> Array:
        """Noise of one layer's heads for :class:`SampledAttention`, (2, heads, tokens, head width)."""
        shape = (2, self.heads, self.arch.tokens, self.arch.head_width)
        return np.random.default_rng((*self.seed, layer)).standard_normal(shape)

    def probes(self, layer: int) -> np.random.Generator:
        """Generator for the values and gradients of one layer, where the theory samples them."""
        return np.random.default_rng((*self.seed, layer, 1))

    def products(self, variances: Array) -> Array:
        """T of shape (``SPECTRA``, layers, tokens, tokens), products of two Gaussian samples: of the width,
        and of as many coordinates as leave entries of T T^T the ``variances``, (layers,), leading order."""
        width = np.array([1 / self.arch.width])
        more = np.maximum(variances - width, 1e-12)  # a sample that changes nothing
        return np.asarray(self._wishart(width, 0) @ self._wishart(more, 1))

    def _wishart(self, variances: Array, number: int) -> Array:
        """T of shape (``SPECTRA``, layers, tokens, tokens) with T T^T distributed as Z Z^T / m, Z standard
        normal of shape (tokens, m), for the variances 1/m of its entries, (layers,): Bartlett's
        decomposition, from the same random numbers in each layer. m need not be whole."""
        n, m = self.arch.tokens, 1 / variances[:, None]
        random = np.random.default_rng((*self.seed, self.arch.depth, number))
        factor, k = np.tril(random.standard_normal((SPECTRA, 1, n, n)), -1), np.arange(n)
        squares = 2 * gammaincinv(np.maximum(m - k, 0) / 2, random.random((SPECTRA, 1, n)))
        found = np.where(m[..., None] > k, factor, 0.0)
        found[..., k, k] = np.sqrt(np.where(m > k, squares, 0.0))
        return np.asarray(found / np.sqrt(m[..., None]))


@dataclass(frozen=True)
class Wiring:
    """A traced block (or readout): its branches' components, and its gains and multipliers at every layer."""

    trace: Trace
    components: dict[int, Component]
    gains: dict[int, dict[str, Array]]
    multipliers: dict[Expr, Array]

    @classmethod
    def of(cls, trace: Trace, arch: Architecture, layers: Array) -> Wiring:
        """The wiring of a trace in an architecture, at layers where it stands; numbers elsewhere are NaN."""

        def placed(numbers: Array) -> Array:
            everywhere = np.full(arch.depth, np.nan)
            everywhere[layers.astype(int)] = numbers
            return everywhere

        gains = {b.index: branch_gains(b, arch, layers) for b in trace.branches}
        return cls(
            trace,
            {b.index: branch_gram_moments(b, arch, trace.only_normed(b)) for b in trace.branches},
            {i: {name: placed(x) for name, x in found.items()} for i, found in gains.items()},
            {m: placed(over_layers(m, arch, layers)) for m in trace.multipliers},
        )


class Block:
    """One block: keeps the incoming Grams and those of its branches, and rebuilds the rest for the
    backward pass.

    Attributes:
        undecided: rows of a head's attention weights that are more than a maximum, known once the
            forward moments are.
    """

    def __init__(self, wiring: Wiring, layer: int, incoming: Grams, draws: Draws) -> None:
        self.wiring = wiring
        self.draws = draws
        self.layer = layer
        self.incoming = incoming
        self.undecided = np.inf
        self._branches: dict[int, Array] = {}

    def forward(self) -> Moments:
        """Covariances of all values of the block."""
        multipliers = self.wiring.multipliers
        return Moments(
            self.wiring.trace,
            GRAM,
            lambda i, j: self.incoming[i][j],
            self._transfer,
            lambda expression: float(multipliers[expression][self.layer]),
        )

    def _transfer(self, branch: Branch, gram: Array) -> Array:
        if branch.index not in self._branches:
            component, gains = self._part(branch)
            if isinstance(component, SampledAttention):
                output, undecided = component.forward(gram, gains, self.draws(self.layer))
                self.undecided = min(self.undecided, undecided)
            else:
                q = gram.diagonal()
                output = component.output(q[:, None], q[None, :], gram, gains)
            self._branches[branch.index] = output
        return dropped_gram(self._branches[branch.index], self._dropout(branch))

    def _dropout(self, branch: Branch) -> float:
        """Rate of dropout on a branch's output; none where it has no weights."""
        return 0.0 if branch.elementwise else self.draws.arch.dropout

    def load_imbalance(self) -> float:
        """Mean squared coefficient of variation of the experts' loads; zero without a router."""
        forward = self.forward()
        for branch in self.wiring.trace.branches:
            component, gains = self._part(branch)
            if isinstance(component, MixtureOfExperts):
                return component.load_imbalance_gram(forward.cov(branch.source, branch.source), gains)
        return 0.0

    def pair_moments(self, streams: Sequence[int]) -> Array:
        """Position averages for :class:`~.two_tokens.PairStep`: second moment and its drop between tokens, of
        each pair of these incoming streams and then of each branch's output; (sources, 2)."""
        grams = [self.incoming[i][j] for i, j in combinations_with_replacement(streams, 2)]
        grams += [self._branches[b.index] for b in self.wiring.trace.branches]
        return np.array([(gram.diagonal().mean(), mean_drop(gram)) for gram in grams])

    def _part(self, branch: Branch) -> tuple[Component, dict[str, float]]:
        gains = self.wiring.gains[branch.index].items()
        return self.wiring.components[branch.index], {name: float(g[self.layer]) for name, g in gains}

    def backward(
        self, grads: Grams, pair_variance: Sequence[float] = (), network_variance: Sequence[float] = ()
    ) -> tuple[Grams, dict[str, float]]:
        """Gradient Grams of the incoming streams from those of the outgoing, and squared weight gradients by
        matrix. V and U, ``pair_variance`` and ``network_variance``, are those at each branch's input,
        empty for a readout."""
        forward = self.forward()
        adjoint = Adjoint(forward)
        norms: dict[str, float] = {}
        branches = [b.index for b in self.wiring.trace.branches]
        finite = {
            b: (float(v), float(u))
            for b, v, u in zip(branches, pair_variance, network_variance, strict=len(pair_variance) > 0)
        }

        def transfer(branch: Branch, grad: Array) -> Array:
            origin = adjoint.origin[branch.index]
            grad = dropped_gram(grad, self._dropout(origin))
            gram = forward.cov(origin.source, origin.source)
            component, gains = self._part(origin)
            if isinstance(component, SampledAttention):
                forward.cov(origin, origin)
                output, noise = self._branches[origin.index], self.draws(self.layer)
                probes = self.draws.probes(self.layer)
                v, u = finite[origin.index]
                stream, found = component.backward(gram, output, grad, gains, noise, v, probes)
                found |= {name: found[name] * float(np.exp(2 * u)) for name in QUADRATIC_IN_DROP}
            else:
                q = gram.diagonal()
                stream = grad * component.gain(q[:, None], q[None, :], gram, gains)
                found = component.weight_grads_gram(gram, grad, gains)
            norms.update(found)
            return stream

        moments = Moments(adjoint.trace, GRAM, lambda i, j: grads[i][j], transfer, _number)
        for gain in self.wiring.trace.gains:
            values, behind = forward.cov(gain.source, gain.source), adjoint.at[gain.index]
            norms[gain.name] = multiplier_grad_gram(
                values, moments.cov(behind, behind), self.draws.arch.width
            )
        nothing = np.zeros((self.draws.arch.tokens,) * 2)  # the gradient of a stream that nothing reads
        return [[nothing if np.ndim(g) == 0 else g for g in row] for row in moments.outputs()], norms


def mean_drop(gram: Array) -> float:
    """Mean over ordered pairs s != t of G_tt - G_st."""
    n = len(gram)
    return float((gram.diagonal()[:, None] - gram).sum() / (n * (n - 1)))


def _number(factor: Any) -> Any:
    """A factor of the adjoint: one for each token, or a number that may still be sympy's."""
    return factor if isinstance(factor, np.ndarray) else float(factor)
