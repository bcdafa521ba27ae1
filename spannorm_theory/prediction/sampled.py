r"""The position-resolved theory: token Grams through a stack and back, for any mask (T10.1 to T10.4).

State: the n x n Gram of every pair of streams, G_st = E x(s).x(t) / d, forward; that of the gradients
backward, divided by its size in each block with the exponent carried apart. A block's trace is evaluated with
the GRAM algebra: feed-forward branches entry by entry, attention by averages over sampled heads. Exact for
wide streams at any head width, up to the sampling. V (:mod:`.pair_variance`) and U
(:mod:`.network_variance`), which finite width adds to gradients of queries and keys, follow from averages of
the Grams over positions.

Draws are fixed by the seed and the layer, the same there and back and in every architecture of one shape, so
that differences between architectures are not blurred; layers have draws of their own, as shared ones would
bias at first order in 1/draws. ``BATCHES`` groups of antithetic pairs each run the whole recursion: the
prediction is their mean, with its standard error (T10.4, :mod:`.runs`). Each run reads its own token ids,
where there are any.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ..base.errors import AssumptionError, InputError
from ..base.interrupts import Halt
from ..base.quantities import INPUT, SPECTRAL, Key
from ..gaussian.closed_forms import Array
from ..gaussian.rank_metrics import rank_metrics_gram
from ..moments.algebra import norm_of_zero
from ..moments.token_gram import Block, Draws, Grams, Wiring, mean_drop
from ..spec.architecture import Architecture
from .blocks import BlockMoments
from .boundary import input_gram, loss_gram
from .network_variance import network_variance
from .pair_variance import PairVariance, pair_variance
from .prediction import Prediction
from .profiles import LARGEST_EXCESS
from .runs import at_no_excess, average, balanced_ids
from .stack import Stack

#: independent recursions behind a prediction; with fewer its standard error is itself uncertain
BATCHES = 8


@dataclass(frozen=True)
class Resolved(Prediction):
    """A prediction with its positions and its own sampling error.

    Attributes:
        tokens: natural logarithm of every token's second moment, by (stream, "variance") and (stream,
            "grad_variance"), (depth + 1, tokens).
        token_errors: standard errors of ``tokens``.
        grams: token Grams, (tokens, tokens), by these keys and then by layer, at the requested layers; Grams
            of the gradient are divided by its largest mean second moment over the streams.
    """

    tokens: dict[Key, Array] = field(default_factory=dict)
    token_errors: dict[Key, Array] = field(default_factory=dict)
    grams: dict[Key, dict[int, Array]] = field(default_factory=dict)


def predict_gram(arch: Architecture, draws: int = 32, seed: int = 0) -> Prediction:
    """Profiles of the position-resolved theory.

    Args:
        draws: attention heads sampled in each layer, a multiple of ``2 * BATCHES``.

    Raises:
        InputError: ``draws`` is not such a number.
        AssumptionError: a moment left float64's range.
    """
    return resolve(arch, draws=draws, seed=seed)


def resolve(arch: Architecture, draws: int = 32, seed: int = 0, layers: Sequence[int] = ()) -> Resolved:
    """Profiles of the position-resolved theory, and every position.

    Args:
        draws, seed: as in :func:`predict_gram`, which has the errors too.
        layers: boundaries whose Grams are kept.
    """
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 1 or draws % (2 * BATCHES):
        raise InputError(f"draws must be a positive multiple of {2 * BATCHES}, got {draws!r}")
    ids, excess = None, np.zeros(BATCHES)
    if arch.inputs == "zipf":
        ids, excess = balanced_ids(arch, BATCHES, np.random.default_rng((seed, arch.depth + 1)))
    draw = [
        Draws((seed, batch), draws // (2 * BATCHES), arch, None if ids is None else ids[batch])
        for batch in range(BATCHES)
    ]
    # small matrix products: BLAS threads would only wait for each other
    with threadpool_limits(1, "blas"), ThreadPoolExecutor() as pool, Halt() as halt:
        stack = Stack.of(arch)
        runs = list(pool.map(lambda d: _run(arch, d, stack, layers, halt), draw))
    profiles, errors = average([run.profiles for run in runs], excess)
    tokens, token_errors = average([run.tokens for run in runs], excess)
    grams = {
        key: {l: at_no_excess(np.array([run.grams[key][l] for run in runs]), excess)[0] for l in layers}
        for key in tokens
    }
    undecided = np.mean([run.undecided for run in runs], axis=0)
    return Resolved(arch, profiles, "position-resolved", undecided, errors, tokens, token_errors, grams)


def _run(arch: Architecture, draws: Draws, stack: Stack, layers: Sequence[int], halt: Halt) -> _Run:
    with np.errstate(over="ignore", invalid="ignore"):  # what leaves float64's range is refused by name
        return _Run(arch, draws, stack, layers, halt)


class _Run:
    """The recursion with one group of draws, through the stack and back.

    Attributes:
        profiles, undecided, tokens, grams: as in :class:`Resolved`.
    """

    def __init__(
        self, arch: Architecture, draws: Draws, stack: Stack, layers: Sequence[int], halt: Halt
    ) -> None:
        self.arch = arch
        self._halt = halt
        self.draws = draws
        self.profiles: dict[Key, Array] = {}
        self.tokens: dict[Key, Array] = {}
        self.grams: dict[Key, dict[int, Array]] = {}
        self._layers = layers
        self._firsts = [stack.step.firsts[place] for place in stack.step.places]
        traces, order = arch.wirings
        wirings = [Wiring.of(t, arch, blocks.layers) for t, blocks in zip(traces, stack.wirings, strict=True)]
        blocks, states = self._forward([wirings[which] for which in order])
        self.undecided = arch.heads * np.array([block.undecided for block in blocks])
        if arch.experts > 1:
            self.profiles["ffn.router", "load_imbalance"] = np.array([b.load_imbalance() for b in blocks])
        readout = Block(Wiring.of(arch.definition.trace_readout(), arch, np.zeros(1)), 0, states[-1], draws)
        try:
            gradient = loss_gram(arch, readout.forward().outputs()[0][0])
        except ZeroDivisionError:
            raise norm_of_zero(arch.depth) from None
        size = float(gradient.diagonal().mean())
        moments = [block.pair_moments(stack.step.firsts) for block in blocks]
        v, u = _finite_width(arch, stack, np.array(moments))
        self._spectra(states, v.streams[:, stack.step.own][:, list(stack.step.places)])
        finite = stack.in_order(v.branches), stack.in_order(u)
        self._backward(blocks, finite, readout.backward([[gradient / size]])[0], float(np.log(size)))

    def _forward(self, wirings: list[Wiring]) -> tuple[list[Block], list[Grams]]:
        arch, count = self.arch, self.arch.definition.streams
        n, start = arch.tokens, input_gram(arch, self.draws.ids)
        blocks, states, across = [], [[[start] * count] * count], []
        for layer, wiring in enumerate(wirings):
            self._halt.check()
            block = Block(wiring, layer, states[-1], self.draws)
            try:
                moments = block.forward()
                states.append(moments.outputs(self._firsts))
            except ZeroDivisionError:
                raise norm_of_zero(layer) from None
            if not all(np.isfinite(states[-1][s][s]).all() for s in range(count)):
                raise AssumptionError(
                    f"the forward variance leaves float64's range at layer {layer}: this placement grows "
                    "exponentially with depth under this scaling; predict a shallower stack, or use "
                    "derive(...).iterate for constant branch gains"
                )
            ends = list(zip(moments.trace.outputs, moments.trace.streams, strict=True))
            across.append([np.trace(moments.cov(*ends[first])) / n for first in self._firsts])
            blocks.append(block)
        self._keep("variance", "token_cosine", states, np.zeros(len(states)), self._firsts)
        for s, cross in enumerate(np.array(across).T):
            q = np.exp(self.profiles[str(s), "variance"])
            with np.errstate(divide="ignore", invalid="ignore"):  # a stream that is zero has no cosine
                self.profiles[str(s), "layer_cosine"] = cross / np.sqrt(q[:-1] * q[1:])
                self.profiles[str(s), "branch_share"] = (q[:-1] + q[1:] - 2 * cross) / q[:-1]
        return blocks, states

    def _spectra(self, states: list[Grams], v: Array) -> None:
        """Rank metrics of each stream, whose V at every boundary is ``v``, (depth + 1, streams); those of
        spectra are left out where V is too large for its leading order, and with dropout, whose masks are no
        Gaussian noise."""
        arch, count = self.arch, self.arch.definition.streams
        excess = arch.tokens * (v - 1 / arch.width) * (2 if arch.experts > 1 else 1)
        kept = (excess <= LARGEST_EXCESS) & (not (arch.dropout or arch.attention_dropout))
        for s in range(count):
            own = np.array([state[s][s] for state in states])
            factor = self.draws.products(np.where(kept[:, s], v[:, s], 1 / arch.width))
            found = rank_metrics_gram(own, 1 - self.profiles[str(s), "token_cosine"], factor)
            found |= {name: np.where(kept[:, s], found[name], np.nan) for name in SPECTRAL}
            self.profiles.update({(str(s), name): x for name, x in found.items()})

    def _backward(
        self, blocks: list[Block], finite: tuple[Array, Array], grads: Grams, exponent: float
    ) -> None:
        n, count = self.arch.tokens, self.arch.definition.streams
        kept, exponents = [grads], [exponent]
        weights = {name: np.full(len(blocks), -np.inf) for name in self.arch.learnt}
        for block in reversed(blocks):
            self._halt.check()
            grads, norms = block.backward(grads, *(x[block.layer] for x in finite))
            for name, norm in norms.items():
                weights[name][block.layer] = np.log(norm) + exponents[-1] if norm > 0 else -np.inf
            size = max(float(np.trace(grads[s][s])) for s in range(count)) / n
            grads = [[gram / size for gram in row] for row in grads]
            kept.append(grads)
            exponents.append(exponents[-1] + float(np.log(size)))
        self._keep("grad_variance", "grad_token_cosine", kept[::-1], np.array(exponents[::-1]), range(count))
        if count > 1:
            total = sum(float(np.trace(gram)) for row in grads for gram in row) / n
            self.profiles[INPUT] = np.log([total]) + exponents[-1]
        self.profiles.update({(name, "weight_grad_norm"): log for name, log in weights.items()})

    def _keep(
        self, size: str, cosine: str, grams: list[Grams], exponents: Array, firsts: Sequence[int]
    ) -> None:
        """Profiles, positions and requested Grams of every stream; ``exponents`` of e were divided out, and
        ``firsts`` says which stream each is a copy of."""
        tables: tuple[dict[Key, Any], ...] = (self.profiles, self.tokens, self.grams)
        for s, first in enumerate(firsts):
            if first < s:
                for table in tables:
                    table.update({(str(s), name): x for (of, name), x in table.items() if of == str(first)})
                continue
            diagonals = np.array([state[s][s].diagonal() for state in grams])
            with np.errstate(divide="ignore"):  # tokens that a loss does not read, streams that nothing reads
                self.tokens[str(s), size] = np.log(diagonals) + exponents[:, None]
                self.profiles[str(s), size] = np.log(diagonals.mean(axis=1)) + exponents
            drops = np.array([token_drop(state[s][s]) for state in grams])
            self.profiles[str(s), cosine] = 1 - drops
            self.grams[str(s), size] = {l: grams[l][s][s] for l in self._layers}


def _finite_width(arch: Architecture, stack: Stack, averages: Array) -> tuple[PairVariance, list[Array]]:
    """V, and U at the branches' inputs, from :meth:`Block.pair_moments` of every block, (depth, sources, 2).
    Grams hold what repeated token ids share, so V starts as that of Gaussian tokens."""
    parts = zip(stack.wirings, stack.by_wiring(averages), strict=True)
    moments = [BlockMoments(blocks, *averages.transpose(2, 1, 0)) for blocks, averages in parts]
    return (
        pair_variance(stack, moments, 1 / arch.width, arch.width),
        network_variance(stack, moments, arch.width),
    )


def token_drop(gram: Array) -> float:
    """One minus the token cosine: mean over ordered pairs s != t of G_tt - G_st, over the mean of G_tt; NaN
    where that is zero."""
    size = float(gram.diagonal().mean())
    return mean_drop(gram) / size if size else float("nan")
