r"""Both ends of a stack in theory: moments of its input, and of the loss gradient at its output (T8.3, T8.4).

Inputs. Gaussian tokens have cosine rho_0. Ids through an embedding of second moment s_e and learned positions
of second moment s_p have G_ik = s_e [id_i = id_k] + s_p [i = k]: q_0 = s_e + s_p, and p_0 = P_c s_e
with the variance P_c (1 - P_c) s_e^2 over pairs, P_c the collision probability.

Losses, as (gamma, c) at the model's output. Probe (1, 0); mean-pooled (1, 1); last token (1, 0) as averages
over tokens. Cross-entropy, the mean over n tokens of -ln softmax(y U)_label, U an unembedding of N(0, s_h/d):

    gamma = s_h (1 - 2/vocabulary + P2) / (d n^2),    c = s_h (P_c - 2/vocabulary + P11) / (d n^2),

P2 and P11 the overlaps of attention rows over the vocabulary at logits of variance s_h q and covariance
s_h p, q and p the moments of the output; under a soft cap, and by a tied head, those of
:mod:`..softmax.residuals`. Exact for wide streams. Left out is that the gradient leans on the output, by
O(s_h q/d) of itself at each token, and to one side at all of them: a norm in front of the head, or at the end
of the last block, takes that away, and where there is none it must be small.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log2

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

from ..base.errors import AssumptionError
from ..gaussian.closed_forms import Array
from ..moments.tokens import TokenGrams
from ..softmax.overlaps import RESOLVED
from ..softmax.residuals import Residuals, residuals
from ..spec.architecture import Architecture
from ..spec.graph import Norm, Stream, Sum, Value

#: correlations at which the overlap of two softmax rows is computed; a spline stands for the analytic
#: function in between, and fewer would show in the gradient of a cross-entropy under a mask
GRID = 9

#: part of the gradient of all tokens that may lie along an output that no norm holds: at 0.34 gradients are
#: 6 % larger than predicted, at 1.2 by 17 % and more
LEAN = 0.5


def input_moments(arch: Architecture) -> tuple[float, float]:
    """q_0 and its drop between two tokens."""
    q = arch.input_second_moment
    if arch.reads_ids:
        return q, q - arch.token_law.collision * arch.embedding_moments[0]
    return q, q * (1 - arch.input_cosine)


def input_pair_variance(arch: Architecture) -> float:
    """V_0 of the input: 1/d of a sample, and P_c (1 - P_c) s_e^2 / delta_0^2 of ids that repeat."""
    spread = 1 / arch.width
    if arch.reads_ids:
        collision = arch.token_law.collision
        spread += collision * (1 - collision) * (arch.embedding_moments[0] / input_moments(arch)[1]) ** 2
    return spread


def input_gram(tokens: TokenGrams, ids: NDArray[np.int64] | None = None) -> Array:
    """The token Gram of one input, or the mean over inputs where tokens have ids and ``ids``, (tokens,), are
    not given."""
    arch = tokens.arch
    if ids is not None:
        own, position = arch.embedding_moments
        return own * repeats(tokens, ids) + position * tokens.placed
    q, delta = input_moments(arch)
    return np.asarray(tokens.gram(q, q - delta) * tokens.together)


def repeats(tokens: TokenGrams, ids: NDArray[np.int64] | None = None) -> Array:
    """Gram of ones where two tokens have one id: its mean over inputs where ``ids`` are not given."""
    if ids is None:
        return tokens.gram(1.0, tokens.arch.token_law.collision)
    return tokens.gram(1.0, ids[:, None] == ids[None, :])


def loss_moments(
    arch: Architecture, q: float, delta: float, layer_cosines: ArrayLike = ()
) -> tuple[float, float]:
    """(gamma, c) at an output of second moment q whose drop between tokens is delta; ``layer_cosines`` are
    as in :func:`own_mean`, which has the errors too."""
    if arch.loss != "cross-entropy":
        return 1.0, float(arch.loss == "mean")
    own, two = _residuals(arch, q, 1 - delta / q, own_mean(arch, q, layer_cosines))
    _require_upright(arch, arch.head_gain * q, own.both)
    return _cross_entropy(arch, own, 1.0), _cross_entropy(arch, two, arch.token_law.collision)


def loss_interval(arch: Architecture) -> tuple[float, float]:
    """Bounds of gamma over all outputs, as 1/vocabulary <= P2 <= 1: even softmax weights, and a single
    one.

    Raises:
        AssumptionError: there is a soft cap, whose slope has no lower bound.
    """
    if arch.loss != "cross-entropy":
        return 1.0, 1.0
    if arch.logit_cap is not None:
        raise AssumptionError(
            f"bounds of a gradient under logit_cap={arch.logit_cap:g} are not derived, as the slope of a cap "
            "has no lower bound; leave it out, or use predict(...)"
        )
    types, alike = arch.vocabulary, arch.token_law.collision
    # a tied head may give a label's type, which is a token's own at times, more than one in so many, or less
    most, least = (types * alike, types * (1 - alike) / (types - 1)) if arch.tied_head else (1.0, 1.0)
    low, high = Residuals(1 / types, most, 1.0), Residuals(1.0, least, 1.0)
    return _cross_entropy(arch, low, 1.0), _cross_entropy(arch, high, 1.0)


def loss_gram(tokens: TokenGrams, output: Array, layer_cosines: ArrayLike = ()) -> Array:
    """Gram of the gradient at an output whose token Gram is ``output``; ``layer_cosines`` are as in
    :func:`own_mean`, which has the errors too."""
    arch = tokens.arch
    if arch.loss == "probe":
        return tokens.gram(1.0, 0.0)
    if arch.loss == "mean":
        return tokens.gram(1.0, 1.0)
    if arch.loss == "last":
        last = np.zeros(len(tokens.counts))
        last[-1] = arch.tokens
        return tokens.gram(last, 0.0)
    q1, q2, c = tokens.of_pairs(output)
    q, rho = tokens.size(output), c / np.sqrt(q1 * q2)
    apart = tokens.gram(np.nan, rho)
    grid = np.linspace(np.nanmin(apart) - 1e-6, min(np.nanmax(apart) + 1e-6, 1.0), GRID)
    mean = own_mean(arch, q, layer_cosines)
    found = [_residuals(arch, q, float(x), mean) for x in grid]
    _require_upright(arch, arch.head_gain * q, found[0][0].both)
    gamma, alike = _cross_entropy(arch, found[0][0], 1.0), arch.token_law.collision
    cross = CubicSpline(grid, [_cross_entropy(arch, two, alike) for _, two in found])(rho)
    return tokens.gram(gamma, cross)


def own_mean(arch: Architecture, q: float, layer_cosines: ArrayLike) -> float:
    """Mean of the logit of a token's own type (T8.9): zero but by a tied head.

    Args:
        q: second moment of the model's output.
        layer_cosines: of a token in front of and behind each block; as branches are fresh, they multiply.

    Raises:
        AssumptionError: there are several streams.
    """
    if not arch.tied_head:
        return 0.0
    if arch.definition.streams > 1:
        raise AssumptionError(
            f"the cosine of output and embedding is not derived for {arch.placement}, which has several "
            "streams; use tied_head=False, or simulate(...)"
        )
    own, positions = arch.embedding_moments
    kept = np.prod(np.asarray(layer_cosines)) * np.sqrt(own / (own + positions))
    return float(np.sqrt(logit_moment(arch, q) * arch.width) * kept)


def _residuals(arch: Architecture, q: float, rho: float, mean: float) -> tuple[Residuals, Residuals]:
    rho, alike = max(-1.0, min(rho, 1.0)), arch.token_law.collision
    return residuals(logit_moment(arch, q), rho, arch.vocabulary, arch.logit_cap, mean, alike)


def _require_upright(arch: Architecture, size: float, p2: float) -> None:
    """Refuse an output that no norm holds, on which the gradient leans by more than ``LEAN`` of itself, all
    tokens together.

    Raises:
        AssumptionError: it does, for logits of second moment ``size``.
    """
    lean = arch.tokens * size * (1 - p2) ** 2 / (1 + p2) / arch.width
    if lean > LEAN and not normed_output(arch):
        raise AssumptionError(
            f"the gradient of cross-entropy leans on an output that no norm holds, by {lean:.2g} of itself "
            f"where {LEAN:g} is the most that may be left out; use a placement whose output is normed, "
            f"width={2 ** ceil(log2(arch.width * lean / LEAN))}, a smaller head_gain, or simulate(...)"
        )


def normed_output(arch: Architecture) -> bool:
    """Whether the model's output is made of norms alone: of the readout, or at the end of the last block."""
    last = arch.block(arch.depth - 1).outputs

    def normed(value: Value, ends: Sequence[Value]) -> bool:
        match value:
            case Stream():
                return bool(ends) and normed(ends[value.position], ())
            case Sum():
                return all(normed(term, ends) for _, term in value.terms)
            case _:
                return isinstance(value, Norm)

    return normed(arch.definition.trace_readout().outputs[0], last)


def logit_moment(arch: Architecture, q: float) -> float:
    """Second moment of the logits over an output of second moment q, in front of a soft cap.

    Raises:
        AssumptionError: softmax weights of such logits are not resolved.
    """
    size = arch.head_gain * q
    if size > RESOLVED:
        raise AssumptionError(
            f"cross-entropy needs logits of variance below {RESOLVED:g}, but they have {size:.3g}: head_gain="
            f"{arch.head_gain:g} times the output's second moment; use a placement whose output is normed, "
            "a smaller head_gain, or another loss"
        )
    return size


def _cross_entropy(arch: Architecture, found: Residuals, alike: float) -> float:
    """Covariance of the gradients of two tokens whose labels are ``alike`` with that probability."""
    size = arch.head_gain / (arch.width * arch.tokens**2)
    return size * (alike * found.none - 2 / arch.vocabulary * found.one + found.both)
