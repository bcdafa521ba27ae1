r"""How unlike the covariances of different token pairs become in a stack of finite width.

In the wide limit every pair of tokens has the covariance q - delta. In d coordinates these vary over
pairs; V is their variance around what the token means explain, over delta^2. A Gaussian sample has V = 1/d,
and :mod:`.bulk` has the spectrum of token differences of any V. Adding a fresh
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

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from sympy import Mul, lambdify, sqrt

from .. import symbols
from ..components.kernels import Array
from .differential import Gradient
from .history import table
from .pair import PairStep

#: V that a branch adds at most, of tokens that are equal to all digits
LARGEST = 1e150


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
        drops: Sequence[Gradient],
        answers: Sequence[tuple[Array, Array]],
        fresh: float,
    ) -> None:
        """The coefficients of the recursion, which :func:`walk_spread` iterates.

        Args:
            known: (layers, numbers) as the step's forward functions take them, before the multipliers.
            drops: the gradients of drops in those of their sources, of each branch's input and outgoing pair.
            answers: K' of each branch, and the variance over pairs of its covariance that it adds by itself.
            fresh: 1/d.
        """
        pairs, columns = len(step.pairs), known.T[1::2]
        slopes: dict[int, Array] = {}  # of the branch whose drop is a source
        owns: dict[int, Array] = {}
        lines: list[Array] = []
        for row, gradient in enumerate(drops):
            parts = {at // 2: x * columns[at // 2] for at, x in gradient.items()}
            inside = sum(parts.values())
            whole = _nonzero(inside)
            shares = {source: part / whole for source, part in parts.items()}
            kept: Any = 0.0
            scattered: Any = 0.0
            for source, share in shares.items():
                if source < pairs:
                    kept = kept + share
                    continue
                scattered = scattered + share * share * owns[source]
                if step.trace.branches[source - pairs].elementwise:
                    kept = kept + share * slopes[source]
            lines += [*shares.values(), fresh * (1 - kept * kept) + scattered]
            if row < len(answers):
                slope, scatter = answers[row]
                outside = _nonzero(columns[pairs + row])
                slopes[pairs + row] = slope * inside / outside
                with np.errstate(over="ignore"):
                    owns[pairs + row] = np.minimum(scatter / outside / outside, LARGEST)
                lines.append(slopes[pairs + row])
        self.numbers = np.empty((len(known), len(lines)))
        for at, line in enumerate(lines):
            self.numbers[:, at] = line
        self.step = _recursion(tuple(tuple(at // 2 for at in gradient) for gradient in drops), len(answers))


def _nonzero(x: Array) -> Array:
    return np.where(x == 0, 1.0, x)


@lru_cache(maxsize=256)
def _recursion(sources: tuple[tuple[int, ...], ...], branches: int) -> Callable[..., list[float]]:
    """One block as a function of V of its streams and its numbers (for each row the shares of its sources and
    what is added, and a branch's slope): V of the streams behind it, then at its branches' inputs."""
    streams = [symbols.transfer(f"V{i}") for i in range(len(sources) - branches)]
    steps = [(symbols.transfer(f"s{i}"), sqrt(v)) for i, v in enumerate(streams)]
    roots, numbers, found = [root for root, _ in steps], [], []
    for row, own in enumerate(sources):
        names = [symbols.transfer(f"w{row}_{i}") for i in range(len(own) + 1 + (row < branches))]
        numbers += names
        whole, here = symbols.transfer(f"t{row}"), symbols.transfer(f"V_{row}")
        steps.append((whole, sum(w * roots[source] for w, source in zip(names, own, strict=False))))
        # a product takes floats a third of the time of a power
        steps.append((here, Mul(whole, whole, evaluate=False) + names[len(own)]))
        found.append(here)
        if row < branches:
            roots.append(symbols.transfer(f"r{row}"))
            steps.append((roots[-1], names[-1] * sqrt(here)))
    behind = [*found[branches:], *found[:branches]]
    return lambdify([*streams, *numbers], behind, "math", cse=lambda _: (steps, behind))  # type: ignore[no-any-return]


def walk_spread(order: Sequence[int], wirings: Sequence[Spread], start: Sequence[float]) -> list[float]:
    """Iterate from ``start``, V of each stream pair, over layers whose wirings are ``order``; these keep V,
    and V behind the last block is returned."""
    pairs, now = len(start), list(start)
    blocks: list[tuple[Callable[..., list[float]], Iterator[list[float]], list[float]]] = [
        (wiring.step, map(np.ndarray.tolist, wiring.numbers), []) for wiring in wirings
    ]
    for which in order:
        step, numbers, walked = blocks[which]
        spreads = step(*now, *next(numbers))
        walked += now
        walked += spreads[pairs:]
        now = spreads[:pairs]
    for wiring, (_, _, walked) in zip(wirings, blocks, strict=True):
        found = table(walked, len(wiring.numbers))
        wiring.streams, wiring.branches = found[:, :pairs], found[:, pairs:]
    return now
