r"""Latents: low-rank inputs of queries, and of keys and values, each behind a norm (T6.19).

A projection with a latent of d_c coordinates is x W_down, normed, times W of shape (d_c, outputs). Given x
x W_down is Gaussian, with the cosines of x, so that its norm has the kernel K of
:class:`~spannorm_theory.gaussian.head_norm.HeadNorm` over d_c coordinates: what W reads has second moment 1
and the cosine K(rho), whatever the size of x, and gradients go back by K'/q. Covariances of two tokens vary
by 1/d_c more than those of x do. Sampled heads read a latent that is drawn (:mod:`.head_input`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..gaussian.closed_forms import Array
from ..gaussian.head_norm import HeadNorm
from ..gaussian.wishart import bartlett

#: by "query" and "key" what is drawn of their latents, (heads, tokens, tokens): T of :func:`.bartlett` over
#: the latent's free coordinates
Samples = Mapping[str, Array]

#: of no latents
NO_SAMPLES: Samples = {}


class Latent(HeadNorm):
    """The norm of a latent of ``rank`` coordinates."""

    def __init__(self, rank: int, kind: str) -> None:
        super().__init__(rank, kind)
        self.rank = rank


@dataclass(frozen=True)
class Latents:
    """The latents of a branch; None where a projection reads what the branch does."""

    queries: Latent | None = None
    keys: Latent | None = None

    def of(self, name: str) -> Latent | None:
        """The latent that "query", "key" or "value" reads."""
        return self.queries if name == "query" else self.keys

    @property
    def names(self) -> tuple[str, ...]:
        """Projections that read a latent."""
        return tuple(name for name in ("query", "key", "value") if self.of(name) is not None)

    def width(self, name: str, width: int) -> int:
        """Free coordinates of what a projection reads, of ``width`` without a latent."""
        latent = self.of(name)
        return width if latent is None else latent.size

    def fresh(self, name: str) -> float:
        """1/d_c: what a latent adds to V (T9.1); 0 without one."""
        latent = self.of(name)
        return 0.0 if latent is None else 1 / latent.size

    def share(self, name: str, width: int) -> float:
        """Inputs of a projection's matrix over ``width``, those without a latent."""
        latent = self.of(name)
        return 1.0 if latent is None else latent.rank / width

    def samples(self, random: np.random.Generator, heads: int, tokens: int) -> Samples:
        """Samples of ``heads`` latents of each kind."""
        found = {}
        for name, latent in (("query", self.queries), ("key", self.keys)):
            if latent is not None:
                normal = random.standard_normal((heads, tokens, tokens))
                found[name] = bartlett(normal, random.random((heads, tokens)), latent.size)
        return found

    def swing(self, squared: Array) -> Any:
        """Factor exp(2 rho^2 / d_c) by which a latent of keys raises squared gradients of queries and keys,
        for the squared cosine rho^2: what tokens have in common is one vector of d_c coordinates, whose
        energy varies by 2/d_c of itself, and the drop of keys and values by rho of that (T6.19)."""
        return 1.0 if self.keys is None else np.exp(2 * squared / self.keys.size)


#: projections that read what the branch does
NO_LATENTS = Latents()


def down(name: str) -> str:
    """The matrix in front of the latent that a projection reads."""
    return "attn.query_down" if name == "query" else "attn.key_down"
