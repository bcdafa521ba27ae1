r"""How unlike the covariances of different token pairs become in a stack of finite width.

In the wide limit every pair of tokens has the covariance q - delta. In d coordinates these vary over
pairs; V is their variance around what the token means explain, over delta^2. A Gaussian sample has V = 1/d,
and :mod:`spannorm_theory.gaussian.marchenko_pastur` has the spectrum of token differences of any V. Adding a
fresh Gaussian branch of drop delta_f to a stream of drop delta draws 2 delta delta_f + delta_f^2 over d anew,
and the branch answers to what is there: an ffn's covariance K moves by K' times that of its input. With the
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

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..gaussian.closed_forms import Array
from ..moments.differential import Gradient
from ..moments.two_tokens import PairStep

#: V that a branch adds at most, of tokens that are equal to all digits; and V that is as good as none
LARGEST, SMALLEST = 1e150, 1e-100


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
        """The coefficients of the recursion, whose solution :func:`.stack.pair_spread` finds.

        Args:
            known: (layers, numbers) as the step's forward functions take them, before the multipliers.
            drops: the gradients of drops in those of their sources, of each branch's input and outgoing pair.
            answers: K' of each branch, and the variance over pairs of its covariance that it adds by itself.
            fresh: 1/d.
        """
        pairs, columns = len(step.pairs), known.T[1::2]
        slopes: dict[int, Array] = {}  # of the branch whose drop is a source
        owns: dict[int, Array] = {}
        #: for each row the shares of its sources and what is added
        self._rows: list[tuple[dict[int, Array], Array]] = []
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
            self._rows.append((shares, fresh * (1 - kept * kept) + scattered))
            if row < len(answers):
                slope, scatter = answers[row]
                outside = _nonzero(columns[pairs + row])
                slopes[pairs + row] = slope * inside / outside
                with np.errstate(over="ignore"):
                    owns[pairs + row] = np.minimum(scatter / outside / outside, LARGEST)
        self._slopes = list(slopes.values())

    def passed(self, streams: Array) -> tuple[Array, Array]:
        """V behind each block for ``streams``, (layers, pairs) in front, and its derivatives in these,
        (layers, pairs, pairs); ``branches`` and ``streams`` are kept."""
        layers, pairs = streams.shape
        roots = np.zeros((pairs, 1 + pairs, layers))  # sqrt(V) and its derivatives, of each source
        stream = np.arange(pairs)
        roots[:, 0] = np.sqrt(np.maximum(streams.T, SMALLEST))
        roots[stream, 1 + stream] = 0.5 / roots[:, 0]
        sources, found = list(roots), []
        for row, (shares, added) in enumerate(self._rows):
            whole = sum(share * sources[source] for source, share in shares.items())
            here = whole[0] * whole
            here[1:] *= 2
            here[0] += added
            found.append(here)
            if row < len(self._slopes):
                root = np.sqrt(np.maximum(here[0], SMALLEST))
                sources.append(np.vstack([root, here[1:] / (2 * root)]) * self._slopes[row])
        branches = len(self._slopes)
        self.streams, self.branches = streams, np.stack([here[0] for here in found[:branches]], axis=1)
        behind = np.stack(found[branches:])
        return behind[:, 0].T, behind[:, 1:].transpose(2, 0, 1)


def _nonzero(x: Array) -> Array:
    return np.where(x == 0, 1.0, x)
