"""The laws of gradient and rank collapse of one stream: by the first means that gives one, cheap ones first.

A closed form; else the product of one block's factors, by the limit of a factor (:mod:`.of_products`); else
an integral over shares of the depth (:mod:`.by_share`), which has constants that expansions leave open; else
expansions (:mod:`.blockwise`); else what is known of a second moment without a closed form: that it is
bounded (:mod:`.bounded`), how it saturates a function (:mod:`.saturating`), or its order (:mod:`.leading`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sympy import Expr

from ..base import symbols
from ..base.errors import NoClosedForm
from ..derivation.rank_collapse import collapse_ratio, factor_at, opening_factor
from ..derivation.recurrence import Recurrence
from .attempts import first_of
from .blockwise import blocks_law, expanded
from .bounded import Bounded
from .by_share import ByShare
from .growth import Growth
from .leading import Leading
from .of_closed_forms import growth
from .saturating import Saturating

Laws = Bounded | Saturating | Leading | ByShare

L = symbols.depth


def gradient_law(recurrence: Recurrence) -> Growth:
    """Growth of gamma_0/gamma_L.

    Raises:
        NoClosedForm: several streams, or no means gives it; the message gives their reasons.
    """
    return _first(
        recurrence,
        lambda: growth(recurrence.gradient_ratio(), L),
        lambda: recurrence.opening_ratio,
        lambda: recurrence.ratio,
        lambda found: found.gradient(),
    )


def collapse_law(recurrence: Recurrence) -> Growth:
    """Growth of (1 - rho_L)/(1 - rho_0) near rho = 1.

    Raises:
        NoClosedForm: several streams, or no means gives it; the message gives their reasons.
    """
    return _first(
        recurrence,
        lambda: growth(collapse_ratio(recurrence), L),
        lambda: opening_factor(recurrence),
        lambda: factor_at(recurrence),
        lambda found: found.collapse(),
    )


def moment_otherwise(recurrence: Recurrence, reason: NoClosedForm) -> Growth:
    """Growth of q_L where its recurrence has none.

    Raises:
        NoClosedForm: several streams, or no means gives it; the message gives all reasons.
    """
    if len(recurrence.block.trace.streams) > 1:
        raise reason
    try:
        return first_of(*_by_moment(recurrence, lambda found: found.forward()))
    except NoClosedForm as others:
        raise NoClosedForm(f"{reason}; {others}") from None


def _first(
    recurrence: Recurrence,
    closed: Callable[[], Growth],
    opening: Callable[[], Expr],
    ratio: Callable[[], Expr],
    law: Callable[[Laws], Growth],
) -> Growth:
    """The law of a product over blocks: of its closed form, or of its opening's and a block's factors."""
    if len(recurrence.block.trace.streams) > 1:
        return closed()  # refuses them, and says why
    start = recurrence.start
    return first_of(
        closed,
        lambda: growth(opening(), L) + blocks_law(ratio(), start),
        lambda: law(ByShare(recurrence)),
        lambda: growth(opening(), L) + expanded(ratio(), start),
        *_by_moment(recurrence, law),
    )


def _by_moment(recurrence: Recurrence, law: Callable[[Laws], Growth]) -> Iterator[Callable[[], Growth]]:
    """Means for second moments without a closed form."""
    if recurrence.before is not None:
        yield lambda: law(ByShare(recurrence))
        return
    yield lambda: law(Bounded(recurrence))
    if any(branch.elementwise for branch in recurrence.block.trace.branches):
        yield lambda: law(Saturating(recurrence))
    else:
        yield lambda: law(Leading(recurrence))
