"""One block of the theory with token Grams: its trace on them, there and back (T10)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from sympy import Expr

from ..gaussian.closed_forms import Array
from ..layers.attention_gram import SampledAttention
from ..layers.attention_positions import NOTHING, LeftOut, PositionAttention
from ..layers.experts import MixtureOfExperts
from ..layers.feedforward import FeedForward
from ..layers.gate import Gate
from ..layers.pointwise import Pointwise
from ..spec.architecture import Architecture
from ..spec.expressions import over_layers
from ..spec.graph import SUBLAYERS, Branch, Trace
from .adjoint import Adjoint
from .algebra import Moments
from .branches import QUADRATIC_IN_DROP, of_each_token
from .gated import attend, attend_back
from .schedule import branch_gains, output_factors
from .tokens import TokenGrams

Component = SampledAttention | PositionAttention | FeedForward | Gate | Pointwise
Attentions = (SampledAttention, PositionAttention)

#: numbers of a branch at layers, by matrix
Numbers = Callable[[Branch, Architecture, Array], dict[str, Array]]

#: token Grams of every pair of streams
Grams = list[list[Array]]


@dataclass(frozen=True)
class Wiring:
    """A traced block (or readout): its branches' components, and its gains, factors on what matrices put out
    and multipliers at every layer."""

    trace: Trace
    components: dict[int, Component]
    gains: dict[int, dict[str, Array]]
    outputs: dict[int, dict[str, Array]]
    multipliers: dict[Expr, Array]

    @classmethod
    def of(cls, trace: Trace, arch: Architecture, tokens: TokenGrams, layers: Array) -> Wiring:
        """The wiring of a trace in an architecture, at layers where it stands; numbers elsewhere are NaN."""

        def placed(numbers: Array) -> Array:
            everywhere = np.full(arch.depth, np.nan)
            everywhere[layers.astype(int)] = numbers
            return everywhere

        def of_branches(numbers: Numbers) -> dict[int, dict[str, Array]]:
            found = {b.index: numbers(b, arch, layers) for b in trace.branches}
            return {i: {name: placed(x) for name, x in own.items()} for i, own in found.items()}

        return cls(
            trace,
            {b.index: _component(b, arch, tokens, trace.only_normed(b)) for b in trace.branches},
            of_branches(branch_gains),
            of_branches(output_factors),
            {m: placed(over_layers(m, arch, layers)) for m in trace.multipliers},
        )


class Block:
    """One block: keeps the incoming Grams and those of its branches, and rebuilds the rest for the
    backward pass.

    Attributes:
        undecided: rows of a head's attention weights that are more than a maximum, known once the
            forward moments are.
        left_out: the largest of what attention leaves out, likewise.
        apart: e^{2U} (1 - rho)^2 at the input of attention, the largest, after :meth:`backward`.
    """

    def __init__(self, wiring: Wiring, layer: int, incoming: Grams, tokens: TokenGrams) -> None:
        self.wiring = wiring
        self.tokens = tokens
        self.layer = layer
        self.incoming = incoming
        self.undecided = np.inf
        self.left_out, self.apart = NOTHING, 0.0
        self._branches: dict[int, Array] = {}

    def forward(self) -> Moments:
        """Covariances of all values of the block."""
        multipliers = self.wiring.multipliers
        return Moments(
            self.wiring.trace,
            self.tokens.algebra,
            lambda i, j: self.incoming[i][j],
            self._transfer,
            lambda expression: float(multipliers[expression][self.layer]),
        )

    def _transfer(self, branch: Branch, gram: Array) -> Array:
        if branch.index not in self._branches:
            component, gains = self.part(branch)
            if isinstance(component, Attentions):
                output, undecided, left_out = attend(self.tokens, component, gram, gains, self.layer)
                self.undecided = min(self.undecided, undecided)
                self.left_out = LeftOut(*map(max, self.left_out, left_out))
            else:
                output = component.output(*self.tokens.of_pairs(gram), gains)
            self._branches[branch.index] = output
        return self.tokens.dropped(self._branches[branch.index], self._dropout(branch))

    def _dropout(self, branch: Branch) -> float:
        """Rate of dropout on a branch's output; none on gates and where it has no weights."""
        return self.tokens.arch.dropout if branch.kind in SUBLAYERS else 0.0

    def load_imbalance(self) -> float:
        """Mean squared coefficient of variation of the experts' loads; zero without a router."""
        forward = self.forward()
        for branch in self.wiring.trace.branches:
            component, gains = self.part(branch)
            if isinstance(component, MixtureOfExperts):
                pairs = self.tokens.of_pairs(forward.cov(branch.source, branch.source))
                common = self.tokens.total(component.commonness(*pairs, gains))
                return common / self.tokens.arch.tokens**2 - 1
        return 0.0

    def pair_moments(self, streams: Sequence[int]) -> Array:
        """Position averages for :class:`~.two_tokens.PairStep`: second moment and its drop between tokens, of
        each pair of these incoming streams and then of each branch's output; (sources, 2)."""
        grams = [self.incoming[i][j] for i, j in combinations_with_replacement(streams, 2)]
        grams += [self._branches[b.index] for b in self.wiring.trace.branches]
        return np.array([(self.tokens.size(gram), self.tokens.drop(gram)) for gram in grams])

    def part(self, branch: Branch) -> tuple[Component, dict[str, float]]:
        """A branch's component, and its gains at this layer."""
        gains = self.wiring.gains[branch.index].items()
        return self.wiring.components[branch.index], {name: float(g[self.layer]) for name, g in gains}

    def backward(
        self, grads: Grams, pair_variance: Sequence[float] = (), network_variance: Sequence[float] = ()
    ) -> tuple[Grams, dict[str, float]]:
        """Gradient Grams of the incoming streams from those of the outgoing, and squared weight gradients by
        matrix. V and U, ``pair_variance`` and ``network_variance``, are those at each branch's input,
        empty for a readout."""
        norms: dict[str, float] = {}
        branches = [b.index for b in self.wiring.trace.branches]
        finite = {
            b: (float(v), float(u))
            for b, v, u in zip(branches, pair_variance, network_variance, strict=len(pair_variance) > 0)
        }

        def transfer(origin: Branch, gram: Array, grad: Array) -> Array:
            component, gains = self.part(origin)
            if isinstance(component, Attentions):
                output = self._branches[origin.index]
                v, u = finite[origin.index]
                stream, found = attend_back(self.tokens, component, gram, output, grad, gains, self.layer, v)
                varied = float(np.exp(2 * u))
                if size := self.tokens.size(gram):
                    self.apart = max(self.apart, varied * (self.tokens.drop(gram) / size) ** 2)
                found |= {name: found[name] * varied for name in QUADRATIC_IN_DROP}
            else:
                pairs = self.tokens.of_pairs(gram)
                stream = grad * component.gain(*pairs, gains)
                found = component.weight_grads_gram(*pairs, grad * self.tokens.step_pairs, gains)
            outputs = self.wiring.outputs[origin.index]
            norms.update(found | {name: found[name] * float(x[self.layer]) for name, x in outputs.items()})
            return stream

        adjoint, moments = self.reversed(grads, transfer)
        for gain in self.wiring.trace.gains:
            values, behind = moments[0].cov(gain.source, gain.source), adjoint.at[gain.index]
            grad = moments[1].cov(behind, behind)
            norms[gain.name] = self.tokens.arch.width * self.tokens.squared(values * grad)
        return [[self.tokens.whole(g) for g in row] for row in moments[1].outputs()], norms

    def reversed(
        self, grads: Grams, transfer: Callable[[Branch, Array, Array], Array]
    ) -> tuple[Adjoint, tuple[Moments, Moments]]:
        """The block turned around, and covariances of its values and of its gradients.

        Args:
            grads: gradient Grams of the outgoing streams.
            transfer: gradient Gram at a branch's input, given the branch, the Gram of its input and the
                gradient at its output.
        """
        forward = self.forward()
        adjoint = Adjoint(forward)

        def back(branch: Branch, grad: Array) -> Array:
            origin = adjoint.origin[branch.index]
            gram = forward.cov(origin.source, origin.source)
            forward.cov(origin, origin)
            return transfer(origin, gram, self.tokens.dropped(grad, self._dropout(origin)))

        moments = Moments(adjoint.trace, self.tokens.algebra, lambda i, j: grads[i][j], back, _number)
        return adjoint, (forward, moments)


def _component(branch: Branch, arch: Architecture, tokens: TokenGrams, only_normed: bool) -> Component:
    """The component with the moments of a branch on token Grams; ``only_normed`` says whether nothing but
    norms reads it."""
    if branch.kind == "attention":
        component: Component = tokens.attention(branch, arch, only_normed)
        return component
    return of_each_token(branch, arch, only_normed)


def _number(factor: Any) -> Any:
    """A factor of the adjoint: one for each token, or a number that may still be sympy's."""
    return factor if isinstance(factor, np.ndarray) else float(factor)
