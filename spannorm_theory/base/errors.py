"""The toolkit's own errors: each says what was expected, what came, and what to do, in one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

#: characters that a value may take in a message
SHOWN = 80

#: characters of a message, beyond which its middle is left out; lists of known names are up to 900
LONGEST = 1600


class SpannormError(ValueError):
    """Base of every error that the toolkit raises on purpose; its message is one line.

    Example:
        >>> import spannorm_theory as st
        >>> try:
        ...     st.Architecture("pre-norn")
        ... except st.SpannormError as error:
        ...     print(error)
        unknown placement 'pre-norn'; did you mean pre-norm or span-norm or post-norm?
    """

    def __init__(self, message: str) -> None:
        line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(message.split()))
        if len(line) > LONGEST:  # what a user gave is in it, and is long
            line = f"{line[: LONGEST // 2]} ... {line[-LONGEST // 4 :]}"
        super().__init__(line)

    def __str__(self) -> str:
        return str(self.args[0])


class InputError(SpannormError):
    """A size, name or option that no architecture can have."""


class AssumptionError(SpannormError):
    """An input outside the assumptions of the theory that was asked."""


class PositionsError(AssumptionError):
    """A mask, logits or a depth that positions as a coordinate cannot carry.

    Attributes:
        reached: profiles by stream and quantity of the forward pass up to the layer where it stopped; empty
            where it did not start.
    """

    def __init__(self, message: str, reached: Mapping[tuple[str, str], Any] | None = None) -> None:
        super().__init__(message)
        self.reached = dict(reached or {})


class NoClosedForm(SpannormError):
    """The recursion has no closed form that the engine can find."""


class NonFiniteError(SpannormError, ArithmeticError):
    """A run produced an infinite or undefined number."""


class StoreError(SpannormError):
    """A store of a sweep that cannot be used, read or written as it is."""


class UnknownNameError(InputError, KeyError):
    """A name that is in no registry; the message lists the nearest valid ones.

    Case and the kind of dash are no distance. ``others`` are words that mean a known name elsewhere.
    """

    def __init__(
        self, kind: str, name: object, known: Iterable[str], others: Mapping[str, str] | None = None
    ) -> None:
        self._made_of = kind, name, tuple(sorted(known)), others
        known, text = self._made_of[2], name if isinstance(name, str) else shown(name)
        asked = _folded(text[:SHOWN])
        if others and asked in others:
            near = [others[asked]]
        else:
            folded = {_folded(valid): valid for valid in known}
            near = [folded[match] for match in get_close_matches(asked, folded, n=3, cutoff=0.5)]
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
        super().__init__(f"unknown {kind} {shown(name)}; {hint}")

    def __reduce__(self) -> Any:
        # worker processes send errors to the one that started them
        kind, name, known, others = self._made_of
        return type(self), (kind, str(name), known, others)


def shown(value: object) -> str:
    """A value as messages write it: its ``repr`` on one line, cut where it is long."""
    try:
        text = repr(value)
    except Exception:  # a user's own class, whose repr is no matter of this message
        text = f"an object of {type(value).__name__}"
    text = " ".join(text.split())
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 20]} ... ({len(text)} characters)"


def _folded(name: str) -> str:
    return name.lower().replace("_", "-")
