"""Named definitions (placements, scaling rules, activations) with their titles and sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol, Self, TypeVar

from .errors import InputError, UnknownNameError
from .names import require_usable


class Named(Protocol):
    """Anything that carries the name it is registered under."""

    @property
    def name(self) -> str:
        """The registered name."""


T = TypeVar("T", bound=Named)
V = TypeVar("V")


class Results(dict[str, V]):
    """Results by name; an unknown name is refused with the nearest ones.

    Args:
        kind: what a result is called in that message.
    """

    def __init__(self, kind: str, found: Mapping[str, V]) -> None:
        super().__init__(found)
        self.kind = kind

    def __missing__(self, name: str) -> V:
        raise UnknownNameError(self.kind, name, self)

    def __reduce__(self) -> tuple[type[Self], tuple[str, dict[str, V]]]:
        return type(self), (self.kind, dict(self))


class Registry(Mapping[str, T]):
    """A mapping from name to entry that refuses clashes and suggests the nearest names."""

    def __init__(self, kind: str, reserved: tuple[str, ...] = ()) -> None:
        self.kind, self._reserved = kind, reserved
        self._entries: dict[str, T] = {}
        #: whether a definition is tried before it is taken
        self.trying = True

    def add(self, entry: T, *, replace: bool = False) -> T:
        """Register ``entry``; a name that is taken is refused unless ``replace`` is set, and one that no text
        form could hold always."""
        require_usable(self.kind, entry.name, self._reserved)
        if entry.name in self._entries and not replace:
            raise InputError(
                f"the {self.kind} {entry.name!r} exists already; choose another name or pass replace=True"
            )
        self._entries[entry.name] = entry
        return entry

    @contextmanager
    def temporarily(self) -> Iterator[None]:
        """Forget, at the end of the block, what was registered or replaced inside it."""
        kept = dict(self._entries)
        try:
            yield
        finally:
            self._entries = kept

    @contextmanager
    def shipping(self) -> Iterator[None]:
        """Take the definitions of the package as they are: its tests try them, not every process."""
        self.trying = False
        try:
            yield
        finally:
            self.trying = True

    def __repr__(self) -> str:
        """The names."""
        return f"{len(self)} of kind {self.kind}: {', '.join(self)}"

    def __getitem__(self, name: str) -> T:
        try:
            return self._entries[name]
        except (KeyError, TypeError):
            raise UnknownNameError(self.kind, name, self._entries) from None

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
