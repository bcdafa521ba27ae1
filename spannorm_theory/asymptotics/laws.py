r"""The laws of a recurrence at large depth: by the first means that gives one, cheap ones first.

A closed form (:mod:`.of_closed_forms`); else, of a second moment, the balance of its linear recurrence, and
of a product, one block's factors (:mod:`.of_products`); else that the blocks of deep stacks change what they
act on by something bounded in sum (:mod:`.near_identity`). Of several streams: :mod:`.coupled_streams`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Concatenate, ParamSpec

from sympy import Expr, Integer, Rational, expand, factor, log

from ..base import symbols
from ..base.errors import NoClosedForm
from ..base.formulas import BALANCED, COLLAPSE, EMBEDDING, IDENTITY, RATIO, of_stream
from ..derivation.closed_forms import Pairs
from ..derivation.rank_collapse import collapse_factor, collapse_ratio, factor_at, opening_factor
from ..derivation.recurrence import Recurrence
from ..moments.one_token import Step, constant_gains
from .coupled_streams import coupled_law, differences_law
from .growth import Growth, first_of
from .near_identity import NearIdentity, named
from .of_closed_forms import growth
from .of_products import moment_by_recurrence, product_of_blocks

L = symbols.depth

P = ParamSpec("P")


def laws(recurrence: Recurrence) -> dict[str, Growth | str]:
    """Growth of each stream moment at l = L, of the gradient at the embedding for a unit gradient at the
    model's output, of gamma_0/gamma_L of one stream, of the former when gains balance, of the distance from
    token alignment, and of the identity gain."""
    result: dict[str, Growth | str] = {}
    for pair in recurrence.step.pairs:
        result[str(recurrence.block.moment(*pair))] = _attempt(partial(moment_law, recurrence, pair))
    streams = len(recurrence.step.trace.streams)
    result[EMBEDDING] = _attempt(partial(embedding_law, recurrence))
    if streams == 1:
        result[RATIO] = _attempt(partial(ratio_law, recurrence))
    result[BALANCED] = _attempt(partial(balanced_law, recurrence))
    result[COLLAPSE] = _attempt(partial(collapse_law, recurrence))
    for stream in range(streams):
        if streams > 1:
            result[of_stream(COLLAPSE, stream, streams)] = _attempt(
                partial(differences_law, recurrence, stream)
            )
        result[of_stream(IDENTITY, stream, streams)] = _attempt(partial(identity_law, recurrence, stream))
    return result


def _attempt(compute: Callable[[], Growth]) -> Growth | str:
    try:
        return compute()
    except NoClosedForm as reason:
        return str(reason)


def _once(
    law: Callable[Concatenate[Recurrence, P], Growth],
) -> Callable[Concatenate[Recurrence, P], Growth]:
    """A law, or why there is none, found once for each recurrence, as other laws are made of it."""

    @wraps(law)
    def found(recurrence: Recurrence, /, *args: P.args, **kwargs: P.kwargs) -> Growth:
        key = law.__name__, args, *kwargs.items()
        if key not in recurrence.kept:
            recurrence.kept[key] = _attempt(lambda: law(recurrence, *args, **kwargs))
        kept: Growth | str = recurrence.kept[key]
        if isinstance(kept, str):
            raise NoClosedForm(kept)
        return kept

    return found


def embedding_law(recurrence: Recurrence) -> Growth:
    """Growth of the gradient at the embedding, for a unit gradient at the model's output.

    Raises:
        NoClosedForm: no means gives it; the message gives their reasons.
    """
    if len(recurrence.block.trace.streams) > 1:
        return coupled_law(recurrence)
    return ratio_law(recurrence) + readout_law(recurrence)


def readout_law(recurrence: Recurrence) -> Growth:
    """Growth of gamma_L for a unit gradient at the model's output."""
    readout = recurrence.readout
    q, factor_of_q = readout.moment(0, 0), readout.backward_terms[0, 0]
    if not factor_of_q.has(q):
        return growth(factor_of_q, L)
    moment = moment_law(recurrence, (0, 0))
    if factor(factor_of_q * q) == 1:
        return moment.times(Integer(-1))
    if moment.shape != 1:
        raise NoClosedForm("the readout's slope at a moment that does not settle")
    return Growth(constant=log(symbols.constant))


@_once
def ratio_law(recurrence: Recurrence) -> Growth:
    """Growth of gamma_0/gamma_L.

    Raises:
        NoClosedForm: several streams, or no means gives it; the message gives their reasons.
    """
    return _product(
        recurrence,
        recurrence.gradient_ratio,
        lambda: recurrence.opening_ratio,
        lambda: recurrence.ratio,
        lambda step: step.backward_terms[0, 0],
    )


def collapse_law(recurrence: Recurrence) -> Growth:
    """Growth of (1 - rho_L)/(1 - rho_0) near rho = 1.

    Raises:
        NoClosedForm: several streams, or no means gives it; the message gives their reasons.
    """
    return _product(
        recurrence,
        lambda: collapse_ratio(recurrence),
        lambda: opening_factor(recurrence),
        lambda: factor_at(recurrence),
        lambda step: collapse_factor(step, named(constant_gains)),
    )


def _product(
    recurrence: Recurrence,
    closed: Callable[[], Expr],
    opening: Callable[[], Expr],
    ratio: Callable[[], Expr],
    of_step: Callable[[Step], Expr],
) -> Growth:
    """Growth of a product over blocks.

    Args:
        closed: its closed form.
        opening: the product over the blocks before ``start``.
        ratio: the factor of a block from there on, in l and L.
        of_step: the factor of a block, in the moments that come in.
    """
    if len(recurrence.block.trace.streams) > 1:
        return growth(closed(), L)  # refuses them, and says why
    return first_of(
        lambda: growth(closed(), L),
        lambda: growth(opening(), L) + product_of_blocks(ratio(), recurrence.start),
        lambda: NearIdentity(recurrence).product(of_step),
    )


def identity_law(recurrence: Recurrence, stream: int) -> Growth:
    """Growth of the gain of a stream's skip path from the input to the last block: of its closed form, else
    of the product of its blocks'."""
    try:
        return growth(recurrence.identity_gain(stream), L)
    except NoClosedForm:
        opening = growth(recurrence.opening_identity(stream), L)
        squared = product_of_blocks(recurrence.block_identity(stream) ** 2, recurrence.start)
        return opening + squared.times(Rational(1, 2))


@_once
def moment_law(recurrence: Recurrence, pair: Pairs) -> Growth:
    """Growth of a stream moment at l = L.

    Raises:
        NoClosedForm: no means gives it; the message gives their reasons.
    """
    if len(recurrence.block.trace.streams) > 1:
        return moment_by_recurrence(recurrence, pair)
    return first_of(lambda: moment_by_recurrence(recurrence, pair), lambda: NearIdentity(recurrence).moment())


def balanced_law(recurrence: Recurrence) -> Growth:
    """Growth of the gradient at the embedding, per unit gradient at the output, for omega = sigma.

    K = sum_ij gamma_ij q_ij is then conserved by every block, and all streams start as the embedding, so
    it is K / q_0 with K taken at the readout (T12.9).

    Raises:
        NoClosedForm: a stream moment that the readout needs has no closed form; the message gives K.
    """
    readout, q0 = recurrence.readout, symbols.initial_variance
    if any(branch.elementwise for branch in (*recurrence.block.trace.branches, *readout.trace.branches)):
        raise NoClosedForm("an element-wise function in a norm's place keeps no balance")
    gradients = {pair: readout.backward_matrix[i, 0] for i, pair in enumerate(readout.pairs)}
    K = sum((1 if i == j else 2) * g * readout.moment(i, j) for (i, j), g in gradients.items())
    closed = K
    for pair in readout.pairs:
        if closed.has(readout.moment(*pair)):
            try:
                closed = closed.subs(readout.moment(*pair), recurrence.moment_at(pair, L))
            except NoClosedForm:
                raise NoClosedForm(
                    f"({expand(K)})/q_0 at l=L exactly, so bounded whenever stream 0 is, since q_01 <= "
                    "sqrt(q_00*q_11)"
                ) from None
    return growth(factor(closed / q0), L)
