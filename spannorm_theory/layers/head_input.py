r"""Token Grams that the projections of sampled heads read: the branch's input, or a drawn latent (T6.19).

With R R^T the Gram of the input and Z standard normal of shape (tokens, d_c), a latent is R Z / sqrt(d_c),
each token over its length r_i. Of Z the heads see Z Z^T alone, drawn as T T^T (:func:`.bartlett`): what a
projection reads is C = R T, row by row over r_i. A gradient of no direction goes back through the norm by

    [1 - (2 - c_ik^2) / d_c] / (r_i r_k)

where c is the Gram of C: the mean of it over draws is the kernel's slope K'/q.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..gaussian.closed_forms import Array
from .latents import Latents, Samples
from .softmax_gradients import root, transposed


@dataclass(frozen=True)
class HeadInput:
    """The input of sampled heads.

    Attributes:
        gram: token Gram of the branch's input, (tokens, tokens).
        latents: those that projections read.
        samples: what is drawn of them.
    """

    gram: Array
    latents: Latents
    samples: Samples

    def factor(self, name: str) -> Array:
        """C with C C^T what the "query", "key" or "value" reads: (tokens, tokens), or (heads, tokens, tokens)
        of latents."""
        return self._root if self.latents.of(name) is None else self._drawn(name)[0]

    def read(self, name: str) -> Array:
        """C C^T: one Gram, or one for each head."""
        return self.gram if self.latents.of(name) is None else self._drawn(name)[1]

    def back(self, name: str) -> Array | float:
        """Factor from the gradient Gram at a latent to that in front of its norm; 1 without one."""
        latent = self.latents.of(name)
        if latent is None:
            return 1.0
        _, gram, lengths = self._drawn(name)
        kept = 1 - (2 - np.square(gram)) / latent.size
        return np.asarray(kept / (lengths * transposed(lengths)))

    def _drawn(self, name: str) -> tuple[Array, Array, Array]:
        """C, C C^T and r, (heads, tokens, 1), of a latent.

        Raises:
            ZeroDivisionError: a token is zero.
        """
        return self._of_keys if name != "query" else self._of_queries

    @cached_property
    def _of_queries(self) -> tuple[Array, Array, Array]:
        return self._normed("query")

    @cached_property
    def _of_keys(self) -> tuple[Array, Array, Array]:
        return self._normed("key")

    def _normed(self, name: str) -> tuple[Array, Array, Array]:
        if not self.gram.diagonal().all():
            raise ZeroDivisionError
        latent = self._root @ self.samples[name]
        lengths = np.linalg.norm(latent, axis=-1, keepdims=True)
        factor = latent / lengths
        return factor, np.asarray(factor @ transposed(factor)), lengths

    @cached_property
    def _root(self) -> Array:
        return root(self.gram)
