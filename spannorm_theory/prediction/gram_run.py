r"""One run of the theory with token Grams: through a stack and back, on any kind of Gram (T10.1).

State: the Gram of every pair of streams, G_st = E x(s).x(t) / d, forward; that of the gradients backward,
divided by its size in each block with the exponent carried apart. V (:mod:`.pair_variance`) and U
(:mod:`.network_variance`), which finite width adds to gradients of queries and keys, follow from averages of
the Grams over positions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..base.errors import AssumptionError, PositionsError
from ..base.quantities import INPUT, Key
from ..gaussian.closed_forms import Array
from ..moments.algebra import norm_of_zero
from ..moments.token_gram import Block, Grams, Wiring
from ..moments.tokens import TokenGrams
from .blocks import BlockMoments
from .boundary import loss_gram
from .logged import logged, of_grams
from .network_variance import network_variance
from .pair_variance import PairVariance, pair_variance
from .stack import Stack

#: factor by which U may let the mean of (1 - rho)^2 over networks pass its bound
BEYOND = 1.4

#: cosines that sums over all pairs leave of uncorrelated tokens
ROUNDING = 1e-13


class GramRun:
    """The recursion with one kind of token Gram.

    Attributes:
        profiles: (stream, quantity) to an array over layers; rank metrics are left to who has spectra.
        undecided: rows of attention weights that are more than a maximum, over heads, (depth,).
        left_out: what attention leaves out, (depth, kinds of it).
        unbounded: blocks where U says of tokens that they differ by more than they can, (depth,).
        positions: natural logarithm of every position's second moment, by (stream, "variance") and (stream,
            "grad_variance"), (depth + 1, positions).
        grams: Grams by these keys and then by layer, at ``layers``; those of the gradient are divided by its
            largest mean second moment over the streams.
        states: Grams of all pairs of streams, at every boundary.
        output, loss: Grams of the model's output, and of the gradient there.
        source: Gram of the gradient at the embedding over e^exponent, and that exponent.
        pair_variance: V of each stream at every boundary, (depth + 1, streams).
        blocks, readout: what the recursion passes.
        finite: V and U at the branches' inputs, each (depth, branches).
        answers: eta^2 V of what the branches' last matrices read, likewise.
        gradients, exponents: Grams of the gradients of all pairs of streams over e^exponent, and these
            exponents, at every boundary.
    """

    def __init__(
        self,
        tokens: TokenGrams,
        start: Array,
        pair_variance_start: float,
        layers: Sequence[int] = (),
        at_block: Callable[[], object] = lambda: None,
    ) -> None:
        """``start`` is the Gram of the input, ``pair_variance_start`` what its pairs vary by around it;
        ``at_block`` is called at every block, there and back."""
        self.tokens = tokens
        self.profiles: dict[Key, Array] = {}
        self.positions: dict[Key, Array] = {}
        self.grams: dict[Key, dict[int, Array]] = {}
        self._layers, self._at_block = layers, at_block
        arch, stack = tokens.arch, Stack.of(tokens.arch)
        self._firsts = [stack.step.firsts[place] for place in stack.step.places]
        wirings = [Wiring.of(b.step.trace, b.arch, tokens, b.layers) for b in stack.wirings]
        self.blocks, self.states = self._forward([wirings[which] for which in stack.order], start)
        blocks = self.blocks
        self.undecided = arch.heads * np.array([block.undecided for block in blocks])
        self.left_out = np.array([block.left_out for block in blocks])
        if arch.experts > 1:
            self.profiles["ffn.router", "load_imbalance"] = np.array([b.load_imbalance() for b in blocks])
        self.readout = readout = Block(
            Wiring.of(arch.readout, arch, tokens, np.zeros(1)), 0, self.states[-1], tokens
        )
        try:
            self.output = readout.forward().outputs()[0][0]
            cosines = self.profiles["0", "layer_cosine"]
            self.loss = gradient = loss_gram(tokens, self.output, cosines)
        except ZeroDivisionError:
            raise norm_of_zero(arch.depth) from None
        size = tokens.size(gradient)
        moments = np.array([block.pair_moments(stack.step.firsts) for block in blocks])
        v, u = _finite_width(stack, moments, pair_variance_start, arch.width)
        self.pair_variance = v.streams[:, stack.step.own][:, list(stack.step.places)]
        self.finite = stack.in_order(v.branches), stack.in_order(u)
        self.answers = stack.in_order(v.answers)
        self._backward(readout.backward([[gradient / size]])[0], float(np.log(size)))
        most = (arch.tokens / (arch.tokens - 1)) ** 2  # tokens that add up to nothing
        self.unbounded = np.array([block.apart for block in blocks]) > BEYOND * most

    def _forward(self, wirings: list[Wiring], start: Array) -> tuple[list[Block], list[Grams]]:
        tokens, count = self.tokens, self.tokens.arch.definition.streams
        blocks: list[Block] = []
        states: list[Grams] = [[[start] * count] * count]
        across: list[list[float]] = []
        for layer, wiring in enumerate(wirings):
            self._at_block()
            block = Block(wiring, layer, states[-1], tokens)
            try:
                moments = block.forward()
                states.append([[tokens.whole(cov) for cov in row] for row in moments.outputs(self._firsts)])
            except ZeroDivisionError:
                raise norm_of_zero(layer) from None
            except PositionsError as error:
                self._keep_forward(states, across)
                raise PositionsError(str(error), self.profiles) from None
            if not all(np.isfinite(states[-1][s][s]).all() for s in range(count)):
                raise AssumptionError(
                    f"the forward variance leaves float64's range at layer {layer}: this placement grows "
                    "exponentially with depth under this scaling; predict a shallower stack, or use "
                    "derive(...).iterate for constant branch gains"
                )
            ends = list(zip(moments.trace.outputs, moments.trace.streams, strict=True))
            across.append([tokens.size(tokens.whole(moments.cov(*ends[first]))) for first in self._firsts])
            blocks.append(block)
        self._keep_forward(states, across)
        return blocks, states

    def _keep_forward(self, states: list[Grams], across: list[list[float]]) -> None:
        """Profiles of the states in front of each block and behind the last, and of blocks, so far."""
        self._keep("variance", "token_cosine", states, np.zeros(len(states)), self._firsts)
        for s, cross in enumerate(np.array(across).reshape(-1, len(self._firsts)).T):
            q = np.exp(self.profiles[str(s), "variance"])
            with np.errstate(divide="ignore", invalid="ignore"):  # a stream that is zero has no cosine
                self.profiles[str(s), "layer_cosine"] = cross / np.sqrt(q[:-1] * q[1:])
                self.profiles[str(s), "branch_share"] = (q[:-1] + q[1:] - 2 * cross) / q[:-1]

    def _backward(self, grads: Grams, exponent: float) -> None:
        tokens, blocks = self.tokens, self.blocks
        count = tokens.arch.definition.streams
        kept, exponents = [grads], [exponent]
        weights = {name: np.full(len(blocks), -np.inf) for name in tokens.arch.learnt}
        for block in reversed(blocks):
            self._at_block()
            grads, norms = block.backward(grads, *(x[block.layer] for x in self.finite))
            for name, norm in norms.items():
                weights[name][block.layer] = np.log(norm) + exponents[-1] if norm > 0 else -np.inf
            size = max(tokens.size(grads[s][s]) for s in range(count))
            grads = [[gram / size for gram in row] for row in grads]
            kept.append(grads)
            exponents.append(exponents[-1] + float(np.log(size)))
        self.gradients, self.exponents = kept[::-1], np.array(exponents[::-1])
        self._keep("grad_variance", "grad_token_cosine", self.gradients, self.exponents, range(count))
        self.source = np.sum([gram for row in grads for gram in row], axis=0), exponents[-1]
        if count > 1:
            self.profiles[INPUT] = np.log([tokens.size(self.source[0])]) + exponents[-1]
        self.profiles.update({(name, "weight_grad_norm"): log for name, log in weights.items()})

    def logged(self, repeated: Array, profiles: Mapping[Key, Array]) -> dict[Key, Array]:
        """Profiles of :mod:`.logged`, from :func:`.boundary.repeats` of the input and those of weights."""
        arch, (source, exponent) = self.tokens.arch, self.source
        if arch.loss != "cross-entropy":
            return {}
        head, embedding = of_grams(self.tokens, self.output, self.loss, source, repeated)
        return logged(arch, self.tokens.size(self.output), head, embedding + exponent, profiles)

    def _keep(
        self, size: str, cosine: str, grams: list[Grams], exponents: Array, firsts: Sequence[int]
    ) -> None:
        """Profiles, positions and requested Grams of every stream; ``exponents`` of e were divided out, and
        ``firsts`` says which stream each is a copy of."""
        tokens = self.tokens
        tables: tuple[dict[Key, Any], ...] = (self.profiles, self.positions, self.grams)
        for s, first in enumerate(firsts):
            if first < s:
                for table in tables:
                    table.update({(str(s), name): x for (of, name), x in table.items() if of == str(first)})
                continue
            own = np.array([tokens.own(state[s][s]) for state in grams])
            sizes = np.array([tokens.size(state[s][s]) for state in grams])
            drops = np.array([tokens.drop(state[s][s]) for state in grams])
            with np.errstate(divide="ignore", invalid="ignore"):  # tokens and streams that nothing reads
                self.positions[str(s), size] = np.log(own) + exponents[:, None]
                self.profiles[str(s), size] = np.log(sizes) + exponents
                found = 1 - drops / sizes
                self.profiles[str(s), cosine] = np.where(np.abs(found) < ROUNDING, 0.0, found)
            self.grams[str(s), size] = {l: grams[l][s][s] for l in self._layers}


def _finite_width(
    stack: Stack, averages: Array, start: float, width: int
) -> tuple[PairVariance, list[Array]]:
    """V, and U at the branches' inputs, from :meth:`Block.pair_moments` of every block, (depth, sources,
    2)."""
    parts = zip(stack.wirings, stack.by_wiring(averages), strict=True)
    moments = [BlockMoments(blocks, *averages.transpose(2, 1, 0)) for blocks, averages in parts]
    return pair_variance(stack, moments, start, width), network_variance(stack, moments, width)
