r"""How unlike the covariances of different token pairs become in a stack of finite width.

In the wide limit every pair of tokens has the covariance q - delta. In d coordinates these vary over
pairs; V is their variance around what the token means explain, over delta^2. A Gaussian sample has V = 1/d,
which makes the spectrum of the token differences a Marchenko-Pastur law of aspect n V. Adding a fresh
Gaussian branch of drop delta_f to a stream of drop delta draws 2 delta delta_f + delta_f^2 over d anew, and
the branch answers to what is there: an ffn's covariance K moves by K' times that of its input. With the
shares w = delta / (delta + delta_f) of the sum's drop, and eta = K' delta / delta_f,

    V' = (w + (1 - w) eta)^2 V + (1 - w^2) / d,

so V stays 1/d where branches forget (eta = 0) and grows by up to 1/d with each ffn that answers
linearly (eta = 1). A branch adds (1 - w)^2 times the variance over pairs of its own covariance, over
delta_f^2: 1/m for the sampling of m hidden units; what routing adds where experts differ from pair to
pair, at any width; and for attention 1/d for the values and more for the overlaps of its rows of weights,
which answer to the cosines of queries, eta = s^2 / (e^{s^2} - 1) at the rows' variance s^2. An
element-wise function in a norm's place draws nothing: what it keeps, eta^2 V, is filled up to 1/d. Leading
order in V; the deviations of several streams are taken as common.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import sqrt
from operator import mul

import numpy as np

from ..components.kernels import Array
from .pair import PairStep


class Spread:
    """V through the blocks of one wiring.

    Attributes:
        streams: (layers, pairs) in front of each block.
        branches: (layers, branches) at each branch's input.
    """

    streams: Array
    branches: Array

    def __init__(
        self,
        step: PairStep,
        known: Array,
        multipliers: Sequence[Array],
        answers: Sequence[tuple[Array, Array]],
        fresh: float,
    ) -> None:
        """The coefficients of the recursion, which :func:`walk_spread` iterates.

        Args:
            known: (layers, numbers) as the step's forward functions take them, before the multipliers.
            answers: K' of each branch, and the variance over pairs of its covariance that it adds by itself.
            fresh: 1/d.
        """
        pairs, branches = len(step.pairs), len(step.branch_inputs)
        columns, layers = known.T, len(known)
        rows = np.zeros((layers, branches + pairs, pairs + branches))
        inside = np.empty((branches, layers))
        functions = [*step.branch_inputs, step.outputs]
        for i, function in enumerate(functions):
            sources = pairs + i
            # drops are linear in those of the sources: each source's drop alone, the others zero
            alone = np.zeros((sources, sources, layers))
            alone[range(sources), range(sources)] = columns[1 : 2 * sources : 2]
            arguments = [x for at in range(sources) for x in (columns[2 * at], alone[at])]
            values = function(*arguments, *multipliers)
            outputs = 1 if i < branches else pairs
            found = [np.broadcast_to(values[2 * k + 1], (sources, layers)) for k in range(outputs)]
            total = [x.sum(axis=0) for x in found]
            for k, (x, whole) in enumerate(zip(found, total, strict=True)):
                rows[:, i + k, :sources] = (x / np.where(whole == 0, 1.0, whole)).T
            if i < branches:
                inside[i] = total[0]
        slopes, own = np.empty((2, layers, branches))
        for i, (slope, scatter) in enumerate(answers):
            outside = columns[2 * (pairs + i) + 1]
            outside = np.where(outside == 0, 1.0, outside)
            slopes[:, i], own[:, i] = slope * inside[i] / outside, scatter / outside / outside
        passed = slopes * np.array([branch.elementwise for branch in step.trace.branches])
        kept = np.square(rows[..., :pairs].sum(axis=-1) + (rows[..., pairs:] * passed[:, None]).sum(axis=-1))
        scattered = np.einsum("lob,lb->lo", np.square(rows[..., pairs:]), own)
        self.rows, self.slopes, self.added = rows, slopes, fresh * (1 - kept) + scattered

    def numbers(self) -> Iterator[float]:
        """Layer by layer, for each branch its row, what is added and its slope; then each pair's row and
        what is added."""
        pairs, branches = self.rows.shape[2] - self.slopes.shape[1], self.slopes.shape[1]
        parts = []
        for i in range(branches):
            parts += [self.rows[:, i, : pairs + i], self.added[:, i : i + 1], self.slopes[:, i : i + 1]]
        for k in range(branches, branches + pairs):
            parts += [self.rows[:, k], self.added[:, k : k + 1]]
        return iter(np.concatenate(parts, axis=1).ravel().tolist())


def walk_spread(order: Sequence[int], wirings: Sequence[Spread], start: Sequence[float]) -> list[float]:
    """Iterate from ``start``, V of each stream pair, over layers whose wirings are ``order``; these keep V,
    and V behind the last block is returned."""
    found = [wiring.numbers() for wiring in wirings]
    counts = [range(wiring.slopes.shape[1]) for wiring in wirings]
    streams: list[list[float]] = [[] for _ in wirings]
    branches: list[list[float]] = [[] for _ in wirings]
    now, pairs = list(start), range(len(start))
    for which in order:
        numbers = found[which]
        streams[which] += now
        roots = list(map(sqrt, now))
        for _ in counts[which]:
            spread = sum(map(mul, roots, numbers)) ** 2 + next(numbers)
            branches[which].append(spread)
            roots.append(next(numbers) * sqrt(spread))
        now = [sum(map(mul, roots, numbers)) ** 2 + next(numbers) for _ in pairs]
    for wiring, at_streams, at_branches in zip(wirings, streams, branches, strict=True):
        layers = len(wiring.slopes)
        wiring.streams = np.array(at_streams).reshape(layers, -1)
        wiring.branches = np.array(at_branches).reshape(layers, -1)
    return now
