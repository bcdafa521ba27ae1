"""The flags that a command line gives: each once, and none that the command does not read."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from typing import Any

#: what is a negative number, and no flag
NEGATIVE = re.compile(r"-(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$|-(inf|infinity|nan)$", re.IGNORECASE)


class Once(argparse.Action):
    """A flag with a value, which is refused when it comes again."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Keep the value, and that the flag was given.

        Raises:
            InputError: it was given before.
        """
        given: frozenset[str] = namespace.given
        if option_string is not None and self.dest in given:
            from ..base.errors import InputError

            raise InputError(f"{option_string} is given twice; say it once")
        if option_string is not None:
            namespace.given = given | {self.dest}
        setattr(namespace, self.dest, self.const if self.nargs == 0 else values)


class OnceTrue(Once):
    """A flag without a value, likewise."""

    def __init__(self, option_strings: list[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest, nargs=0, const=True, default=False, help=help)


def prepare(parser: argparse.ArgumentParser) -> None:
    """Let a parser refuse repeated flags, and take negative numbers of every form as values."""
    parser.set_defaults(given=frozenset())
    parser.register("action", None, Once)
    parser.register("action", "store_true", OnceTrue)
    parser._negative_number_matcher = NEGATIVE


def require_read(args: argparse.Namespace, asked: str, reads: Iterable[str]) -> None:
    """Refuse flags that a command does not read in the way in which it was ``asked``.

    Raises:
        InputError: naming them.
    """
    unread = sorted(args.given - {*reads, "json", "quiet"})
    if unread:
        from ..base.errors import InputError

        flags = ", ".join(f"--{name.replace('_', '-')}" for name in unread)
        raise InputError(f"{args.command} {asked} does not read {flags}; leave it out")
