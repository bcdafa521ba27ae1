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

from collections.abc import Callable, Sequence
from math import sqrt
from operator import mul
from typing import Any

import numpy as np

from ..components.kernels import Array
from .pair import PairStep


class Spread:
    """V through the blocks of one wiring.

    Attributes:
        streams: (layers, pairs) in front of each block; ``last`` behind the last one.
        branches: (layers, branches) at each branch's input.
    """

    def __init__(
        self,
        step: PairStep,
        known: Array,
        multipliers: Sequence[Array],
        answers: Sequence[tuple[Array, Array]],
        start: Sequence[float],
        fresh: float,
    ) -> None:
        """Iterate from ``start``, V of each stream pair.

        Args:
            known: (layers, numbers) as the step's forward functions take them, before the multipliers.
            answers: K' of each branch, and the variance over pairs of its covariance that it adds by itself.
            fresh: 1/d.
        """
        pairs, branches = len(step.pairs), len(step.branch_inputs)
        drops = [2 * k + 1 for k in range(pairs + branches)]

        def shares(function: Callable[..., Any], inputs: int, outputs: int) -> Array:
            """Share of each source's drop in those of the outputs; (layers, outputs, sources)."""
            columns = list(known.T[: 2 * inputs])
            full = _drops(function(*columns, *multipliers), outputs, len(known))
            found = np.zeros((len(known), outputs, pairs + branches))
            for source, at in enumerate(drops[:inputs]):
                without = [np.zeros_like(c) if i == at else c for i, c in enumerate(columns)]
                rest = _drops(function(*without, *multipliers), outputs, len(known))
                found[..., source] = (full - rest) / np.where(full == 0, 1.0, full)
            return found

        entering = [shares(f, pairs + i, 1)[:, 0] for i, f in enumerate(step.branch_inputs)]
        leaving = shares(step.outputs, pairs + branches, pairs)
        slopes, own = np.zeros((2, len(known), branches))
        for i, (function, (slope, scatter)) in enumerate(zip(step.branch_inputs, answers, strict=True)):
            inside = _drops(function(*known.T[: 2 * (pairs + i)], *multipliers), 1, len(known))[:, 0]
            outside = known[:, drops[pairs + i]]
            outside = np.where(outside == 0, 1.0, outside)
            slopes[:, i], own[:, i] = slope * inside / outside, scatter / outside / outside
        rows = np.concatenate([np.stack(entering, axis=1), leaving], axis=1)
        passed = slopes * np.array([branch.elementwise for branch in step.trace.branches])
        kept = np.square(rows[..., :pairs].sum(axis=-1) + (rows[..., pairs:] * passed[:, None]).sum(axis=-1))
        scattered = np.einsum("lob,lb->lo", np.square(rows[..., pairs:]), own)
        added = (fresh * (1 - kept) + scattered).tolist()
        now = list(start)
        found_streams, found_branches = [], []
        for row, new, answer in zip(rows.tolist(), added, slopes.tolist(), strict=True):
            found_streams.append(now)
            roots = list(map(sqrt, now))
            inputs = []
            for i in range(branches):
                inputs.append(_mixed(row[i], roots) + new[i])
                roots.append(answer[i] * sqrt(inputs[i]))
            found_branches.append(inputs)
            now = [_mixed(row[branches + k], roots) + new[branches + k] for k in range(pairs)]
        self.streams, self.branches, self.last = np.array(found_streams), np.array(found_branches), now


def _mixed(weights: Sequence[float], roots: Sequence[float]) -> float:
    total: float = sum(map(mul, weights, roots))  # up to the sources that are there so far
    return total * total


def _drops(values: Any, outputs: int, layers: int) -> Array:
    """The drops among (q, delta), (q, delta), ... as an array (layers, outputs)."""
    return np.stack([np.broadcast_to(values[2 * k + 1], (layers,)) for k in range(outputs)], axis=1)
