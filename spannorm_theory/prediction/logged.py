r"""The numbers of a training log, of a stack with a head: loss, logits, norm of the gradient (T8.6, T8.7).

Logits of second moment s_h q, q that of the model's output, have the expected loss E ln sum exp z, as labels
are independent of them; under a soft cap z is the capped one. The squared gradient norm adds up over all
matrices and learnt multipliers of all blocks, the unembedding U and the embedding E with its learned
positions:

    |dU|^2 = m_h^2 d^2 / s_h sum_st Y_st Gamma_st,     |dE|^2 = m_e^2 d sum_st [id_s = id_t] Gamma_st,

Y and Gamma the token Grams of the output and of the gradient there, Gamma at the input for E, m_h and m_e the
multipliers of logits and embedding; positions receive d sum_t Gamma_tt. Of a tied head both are of one
matrix, and add up as well, since the two gradients have nothing in common. Gains of norms would add of order
1/d of a matrix, and are not counted.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..base.errors import AssumptionError
from ..base.quantities import OUTPUT, Key
from ..gaussian.closed_forms import Array
from ..moments.tokens import TokenGrams
from ..softmax.own_logit import own_logit
from ..softmax.rows import capped_moment, log_partition
from ..spec.architecture import Architecture
from .boundary import logit_moment, own_mean

#: weight of a token's own type by a tied head up to which gradients are predicted: by the square of that they
#: lean on its embedding, which is the token's input
LEANING = 0.1


def logged(
    arch: Architecture, q: float, head: float, embedding: float, weights: Mapping[Key, Array]
) -> dict[Key, Array]:
    """Profiles of one layer each, of a stack with a head.

    Args:
        q: second moment of the model's output.
        head, embedding: logarithms of the squared gradient norms of the unembedding, and of the embedding
            with its positions; minus infinity where there is none.
        weights: profiles, of which the weight gradients are read; NaN where one is not predicted; and the
            cosines of layers by a tied head.

    Raises:
        AssumptionError: a tied head tells tokens their own type, which gradients then lean on.
    """
    size, cap = float(np.sqrt(logit_moment(arch, q))), arch.logit_cap
    loss, moment = log_partition(size, arch.vocabulary, cap), capped_moment(size, cap)
    if arch.tied_head:
        own = own_logit(size, arch.vocabulary, own_mean(arch, q, weights["0", "layer_cosine"]), cap)
        if own.weight > LEANING:
            raise AssumptionError(
                f"a tied head gives a token's own type the weight {own.weight:.2g}, as the output keeps its "
                f"embedding; gradients are derived up to {LEANING:g}: use tied_head=False, or simulate(...)"
            )
        loss = own.partition - arch.token_law.collision * own.value
        moment = own.second_moment
    norms = [np.array([head, embedding])]
    norms += [profile for (_, quantity), profile in weights.items() if quantity == "weight_grad_norm"]
    with np.errstate(invalid="ignore"):
        total = np.logaddexp.reduce(np.concatenate(norms))
    values = {
        "loss": loss,
        "logit_second_moment": np.log(moment),
        "global_grad_norm": total / 2,
    }
    return {(OUTPUT, name): np.array([value]) for name, value in values.items()}


def head_norm(arch: Architecture, products: float) -> float:
    """Logarithm of the squared gradient norm of the unembedding from the sum over token pairs of the products
    of covariances of the output and of the gradient there."""
    return float(np.log(arch.logit_multiplier**2 * arch.width**2 / arch.head_gain * products))


def embedding_norm(arch: Architecture, repeated: float, placed: float) -> float:
    """Logarithm of the squared gradient norm of the embedding of ids and of learned positions, where there
    are any.

    Args:
        repeated, placed: sums of the gradient's covariances at the input over all pairs of tokens of one id,
            and of one position.
    """
    if not arch.reads_ids:
        return -np.inf
    with np.errstate(divide="ignore"):  # a stack that reads nothing of its input
        total = arch.embedding_multiplier**2 * repeated + (placed if arch.position_variance else 0.0)
        return float(np.log(arch.width * total))


def of_pairs(
    arch: Architecture, output: tuple[float, float], loss: tuple[float, float], source: tuple[float, float]
) -> tuple[float, float]:
    """:func:`head_norm` and :func:`embedding_norm` where all pairs of tokens are alike.

    Args:
        output: q and p of the model's output.
        loss, source: (gamma, c) of the gradient there, and at the input.
    """
    n, others = arch.tokens, arch.tokens - 1
    (q, p), (gamma, c) = output, loss
    collision = arch.token_law.collision
    return (
        head_norm(arch, n * (q * gamma + others * p * c)),
        embedding_norm(arch, n * (source[0] + others * collision * source[1]), n * source[0]),
    )


def of_grams(
    tokens: TokenGrams, output: Array, loss: Array, source: Array, repeated: Array
) -> tuple[float, float]:
    """:func:`head_norm` and :func:`embedding_norm` of token Grams: of the model's output, of the gradient
    there and at the input, and of :func:`.boundary.repeats`."""
    products, repeats, places = map(
        tokens.squared, (output * loss, repeated * source, tokens.placed * source)
    )
    return head_norm(tokens.arch, products), embedding_norm(tokens.arch, repeats, places)
