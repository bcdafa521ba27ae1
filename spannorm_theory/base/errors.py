"""The toolkit's own errors: each says what was expected, what came, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches


class SpannormError(ValueError):
    """Base of every error that the toolkit raises on purpose."""


class InputError(SpannormError):
    """A size, name or option that no architecture can have."""


class AssumptionError(SpannormError):
    """An input outside the assumptions of the theory that was asked."""


class PositionsError(AssumptionError):
    """A mask, or logits, that positions as a coordinate cannot carry."""


class NoClosedForm(SpannormError):
    """The recursion has no closed form that the engine can find."""


class NonFiniteError(SpannormError, ArithmeticError):
    """A run produced an infinite or undefined number."""


class StoreError(SpannormError):
    """A store of a sweep that cannot be used, read or written as it is."""


class UnknownNameError(InputError):
    """A name that is in no registry; the message lists the nearest valid ones.

    Case and the kind of dash are no distance. ``others`` are words that mean a known name elsewhere.
    """

    def __init__(
        self, kind: str, name: object, known: Iterable[str], others: Mapping[str, str] | None = None
    ) -> None:
        known, asked = sorted(known), _folded(str(name))
        if others and asked in others:
            near = [others[asked]]
        else:
            folded = {_folded(valid): valid for valid in known}
            near = [folded[match] for match in get_close_matches(asked, folded, n=3, cutoff=0.5)]
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
        super().__init__(f"unknown {kind} {str(name)!r}; {hint}")


def _folded(name: str) -> str:
    return name.lower().replace("_", "-")
