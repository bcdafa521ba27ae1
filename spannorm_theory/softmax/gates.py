r"""Gates of a router: the experts that a token is sent to, and their weights (T7.1).

The k largest of a token's logits z choose its experts. Their gates are g_e = x_e / sum_j x_j, zero elsewhere:

    "renormalised"  x = e^z, the sum over the chosen        "softmax"  over all experts
    "sigmoid"       x = 1/(1 + e^-z), over the chosen       (DeepSeek-V3, arXiv:2412.19437)

Which experts are chosen has zero derivative, so that dg_e/dz_j = g_e (1[e = j] - w_j) r_j with
w_j = x_j / sum_j x_j of the experts in the sum, and r = d ln x/dz.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit

from ..gaussian.closed_forms import Array


class Routed(NamedTuple):
    """Gates g, weights w, the choice (1 or 0) and slopes r of tokens, each (..., experts) or a number."""

    gates: Array
    weights: Array
    chosen: Array
    slopes: Array | float


@dataclass(frozen=True)
class Gates:
    """A router of ``experts`` experts of which it takes ``top_k``; ``kind`` says what gates are made of.

    Attributes:
        groups: equal parts that the experts are in, of which a token's own are ``top_groups``; it goes to
            experts of these alone.
    """

    experts: int
    top_k: int
    kind: str = "renormalised"
    groups: int = 1
    top_groups: int = 1

    @property
    def among_chosen(self) -> bool:
        """Whether gates are shares of a sum over the chosen experts."""
        return self.kind != "softmax"

    def log_score(self, logits: Array) -> Array:
        """ln x."""
        return np.asarray(log_expit(logits)) if self.kind == "sigmoid" else logits

    def __call__(self, logits: Array) -> Routed:
        """Gates of logits of shape (..., experts)."""
        among = logits if self.groups == 1 else np.where(self._allowed(logits), logits, -np.inf)
        chosen = logits >= _largest(among, self.top_k)
        if self.groups > 1:
            chosen &= among > -np.inf
        score = self.log_score(logits)
        w = np.exp(score - score.max(axis=-1, keepdims=True))
        if self.among_chosen:
            w = w * chosen
        w /= w.sum(axis=-1, keepdims=True)
        slopes = expit(-logits) if self.kind == "sigmoid" else 1.0
        return Routed(w * chosen, w, chosen.astype(float), slopes)

    def _allowed(self, logits: Array) -> NDArray[np.bool_]:
        """Mask of the experts in a token's own groups: those with the largest sum of two scores under
        "sigmoid", and else with the largest logit."""
        parts = logits.reshape(*logits.shape[:-1], self.groups, -1)
        two = self.kind == "sigmoid"
        size = np.sort(expit(parts), axis=-1)[..., -2:].sum(axis=-1) if two else parts.max(axis=-1)
        own = size >= _largest(size, self.top_groups)
        return np.broadcast_to(own[..., None], parts.shape).reshape(logits.shape)


def _largest(values: Array, count: int) -> Array:
    """The last of the ``count`` largest values, (..., 1)."""
    place = values.shape[-1] - count
    return np.asarray(np.partition(values, place, axis=-1)[..., place, None])
