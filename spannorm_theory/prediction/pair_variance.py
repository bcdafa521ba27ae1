r"""V: how the covariances of token pairs vary in a stack of finite width, from block to block (T9.1 to T9.3).

V is the variance over pairs of their covariance, around what the two token means explain, over delta^2: 1/d
of a Gaussian sample, zero in the wide limit. A branch of drop delta_f, added to a stream of drop delta of
which w is the share in the sum's drop, answers with eta = K' delta_in / delta_f to the variance at its input
and has V_f of its own:

    V' = (w + (1 - w) eta)^2 V + (1 - w^2) / d + (1 - w)^2 V_f.

An element-wise function in a norm's place draws nothing: it keeps eta^2 V, which is filled up to 1/d. Leading
order in V; deviations of several streams are taken as common.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from ..gaussian.closed_forms import Array
from .blocks import BlockMoments
from .stack import Stack

#: largest V_f, which stands for infinity where tokens are equal to all digits
LARGEST = 1e150


@dataclass(frozen=True)
class PairVariance:
    """V through a stack.

    Attributes:
        streams: V of each pair of stream classes at every boundary, (depth + 1, pairs).
        branches: V at the branches' inputs, one array (layers, branches) for each wiring.
        answers: eta^2 V, the answer of what the branches' last matrices read, likewise.
    """

    streams: Array
    branches: list[Array]
    answers: list[Array]


def pair_variance(stack: Stack, moments: Sequence[BlockMoments], start: float, width: int) -> PairVariance:
    """V at every layer of a stack.

    Args:
        moments: second moments in the blocks of each wiring.
        start: V of the input.
        width: d.
    """
    blocks = [_Blocks(wiring, 1 / width) for wiring in moments]
    v, streams = [start] * stack.pairs, [[start] * stack.pairs]
    branches: list[list[tuple[list[float], list[float]]]] = [[] for _ in blocks]
    for wiring in stack.order:
        v, inputs, answers = blocks[wiring](v)
        streams.append(v)
        branches[wiring].append((inputs, answers))
    both = ([np.array([row[i] for row in rows]) for rows in branches] for i in range(2))
    return PairVariance(np.array(streams), *both)


class _Blocks:
    """The recursion of V through the blocks of one wiring, each call being the next of them.

    V of a sum is the square of its sources' sqrt(V), weighted by their shares of its drop, and what is added.
    Sources are the pairs of streams, then the branches, whose sqrt(V) is eta times that of their input.
    """

    def __init__(self, moments: BlockMoments, fresh: float) -> None:
        """``fresh`` is 1/d."""
        blocks, pairs = moments.blocks, moments.pairs
        answers = _answers(moments)
        etas: dict[int, Array] = {}  # by source
        scatters: dict[int, Array] = {}
        self._branches, columns = len(answers), []
        #: for each branch input, then each outgoing pair, the sources that it reads
        self._sources: list[tuple[int, ...]] = []
        for row, gradient in enumerate(moments.derivatives[1]):
            parts = {source: x * moments.delta[source] for (_, source), x in gradient.items()}
            inside = sum(parts.values())
            whole = _nonzero(inside)
            shares = {source: part / whole for source, part in parts.items()}
            kept: Any = 0.0
            added: Any = 0.0
            for source, share in shares.items():
                if source < pairs:
                    kept = kept + share
                    continue
                added = added + share * share * scatters[source]
                if blocks.step.trace.branches[source - pairs].elementwise:
                    kept = kept + share * etas[source]
            self._sources.append(tuple(shares))
            columns += [*shares.values(), fresh * (1 - kept * kept) + added]
            if row < len(answers):
                slope, scatter = answers[row]
                outside = _nonzero(moments.delta[pairs + row])
                etas[pairs + row] = eta = slope * inside / outside
                with np.errstate(over="ignore"):
                    scatters[pairs + row] = np.minimum(scatter / outside / outside, LARGEST)
                columns.append(eta)
        shape = blocks.layers.shape
        self._numbers = iter(np.array([np.broadcast_to(x, shape) for x in columns]).T.tolist())

    def __call__(self, v: Sequence[float]) -> tuple[list[float], list[float], list[float]]:
        """V of each pair behind the block and at each branch's input, and eta^2 V of each branch, from V of
        each pair in front of it."""
        numbers, roots, found = iter(next(self._numbers)), [sqrt(max(x, 0.0)) for x in v], []
        for row, sources in enumerate(self._sources):
            root = sum(next(numbers) * roots[source] for source in sources)
            found.append(root * root + next(numbers))
            if row < self._branches:
                roots.append(next(numbers) * sqrt(max(found[-1], 0.0)))
        answers = [root * root for root in roots[len(v) :]]
        return found[self._branches :], found[: self._branches], answers


def _answers(moments: BlockMoments) -> list[tuple[Array, Array]]:
    """K', by which a covariance answers to that of its input, and delta_f^2 V_f, for each branch;
    (layers,)."""
    drops = moments.delta[moments.pairs :]
    parts = zip(moments.blocks.components, moments.branches, drops, strict=True)
    return [(component.response(at, drop), component.scatter(at, drop)) for component, at, drop in parts]


def _nonzero(x: Array) -> Array:
    return np.where(x == 0, 1.0, x)
