"""Laws that several means may give: the first that does, or the reasons of all."""

from __future__ import annotations

from collections.abc import Callable

from ..base.errors import NoClosedForm
from .growth import Growth


def first_of(*attempts: Callable[[], Growth]) -> Growth:
    """The first law that one of several means gives, tried in order.

    Raises:
        NoClosedForm: none does; the message gives each reason once.
    """
    reasons: list[str] = []
    for attempt in attempts:
        try:
            return attempt()
        except NoClosedForm as reason:
            reasons += str(reason).split("; ")
    raise NoClosedForm("; ".join(dict.fromkeys(reasons)))
