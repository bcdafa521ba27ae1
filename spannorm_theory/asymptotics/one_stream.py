"""The laws of gradient and rank collapse of one stream: by the first means that gives one, cheap ones first.

A closed form; else the product of one block's factors, by the limit of a factor (:mod:`.of_products`); else
an integral over shares of the depth (:mod:`.by_share`), which has constants that expansions leave open; else
expansions (:mod:`.blockwise`); else what is known of a second moment without a closed form: that it is
bounded (:mod:`.bounded`), how it saturates a function (:mod:`.saturating`), or its order (:mod:`.leading`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from sympy import Expr

from ..base import symbols
from ..base.errors import NoClosedForm
from ..derivation.rank_collapse import collapse_ratio, factor_at, opening_factor
from .attempts import first_of
from .blockwise import blocks_law, expanded
from .bounded import Bounded
from .by_share import ByShare
from .growth import Growth
from .leading import Leading
from .of_closed_forms import growth
from .saturating import Saturating

if TYPE_CHECKING:
    from ..derivation.recursion import Recursion

    Laws = Bounded | Saturating | Leading | ByShare

L = symbols.depth


def gradient_law(recursion: Recursion) -> Growth:
    """Growth of gamma_0/gamma_L.

    Raises:
        NoClosedForm: several streams, or no means gives it; the message gives their reasons.
    """
    return _first(
        recursion,
        lambda: growth(recursion.gradient_ratio(), L),
        lambda: recursion.opening_ratio,
        lambda: recursion.ratio,
        lambda found: found.gradient(),
    )


def collapse_law(recursion: Recursion) -> Growth:
    """Growth of (1 - rho_L)/(1 - rho_0) near rho = 1.

    Raises:
        NoClosedForm: several streams, or no means gives it; the message gives their reasons.
    """
    return _first(
        recursion,
        lambda: growth(collapse_ratio(recursion), L),
        lambda: opening_factor(recursion),
        lambda: factor_at(recursion),
        lambda found: found.collapse(),
    )


def moment_otherwise(recursion: Recursion, reason: NoClosedForm) -> Growth:
    """Growth of q_L where its recurrence has none.

    Raises:
        NoClosedForm: several streams, or no means gives it; the message gives all reasons.
    """
    if len(recursion.block.trace.streams) > 1:
        raise reason
    try:
        return first_of(*_by_moment(recursion, lambda found: found.forward()))
    except NoClosedForm as others:
        raise NoClosedForm(f"{reason}; {others}") from None


def _first(
    recursion: Recursion,
    closed: Callable[[], Growth],
    opening: Callable[[], Expr],
    ratio: Callable[[], Expr],
    law: Callable[[Laws], Growth],
) -> Growth:
    """The law of a product over blocks: of its closed form, or of its opening's and a block's factors."""
    if len(recursion.block.trace.streams) > 1:
        return closed()  # refuses them, and says why
    start = recursion.start
    return first_of(
        closed,
        lambda: growth(opening(), L) + blocks_law(ratio(), start),
        lambda: law(ByShare(recursion)),
        lambda: growth(opening(), L) + expanded(ratio(), start),
        *_by_moment(recursion, law),
    )


def _by_moment(recursion: Recursion, law: Callable[[Laws], Growth]) -> Iterator[Callable[[], Growth]]:
    """Means for second moments without a closed form."""
    if recursion.before is not None:
        yield lambda: law(ByShare(recursion))
        return
    yield lambda: law(Bounded(recursion))
    if any(branch.elementwise for branch in recursion.block.trace.branches):
        yield lambda: law(Saturating(recursion))
    else:
        yield lambda: law(Leading(recursion))
