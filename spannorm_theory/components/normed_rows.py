r"""What a norm on queries or keys takes from their gradients, beyond its kernel.

A norm takes from each token's gradient what points along the token. Weights follow logits, so that is more
than the 1/d_h of a random direction, which the norm's kernel has: at leading orders in 1/n, with s^2 the
variance of a row's logits, r the rows' cosine and F = e^{r s^2} [r s^2 + (1 + r)^2 s^4],

    query     s_o delta_V gamma e^{s^2} (s^2 + s^4) / n
    key       s_o delta_V [gamma e^{s^2} (s^2 + 4 s^4) / n + c (1 + P11 - 2/n) F
                           - 2 c (e^{(1+2r) s^2} [r s^2 + (2+r)(1+2r) s^4] - F) / n]

over d_h, times (1 - P2)^2: by Stein's lemma a row's mean logit is (1 - P2) s^2. What rows of like gradients
(c) read along a key adds up over them.
"""

from __future__ import annotations

import numpy as np

from .kernels import Array


def along_queries(s2: Array, keys: int) -> tuple[Array, Array]:
    """d_h times what a query's gradient has along it, by gamma and by c, over s_o delta_V (1 - P2)^2."""
    return np.exp(s2) * (s2 + s2**2) / keys, np.zeros_like(s2)


def along_keys(s2: Array, rho: Array, p11: Array, keys: int) -> tuple[Array, Array]:
    """The same of a key's."""
    same = np.exp(rho * s2) * (rho * s2 + ((1 + rho) * s2) ** 2)
    lean = np.exp((1 + 2 * rho) * s2) * (rho * s2 + (2 + rho) * (1 + 2 * rho) * s2**2)
    gamma = np.exp(s2) * (s2 + 4 * s2**2) / keys
    return gamma, (1 + p11 - 2 / keys) * same - 2 / keys * (lean - same)
