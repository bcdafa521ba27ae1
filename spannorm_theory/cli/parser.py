"""The parser of the command line, whose refusals are one line as all others are."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from ..base.errors import InputError, UnknownNameError

#: characters of somebody's argument that a message repeats
SHOWN = 80


class Parser(argparse.ArgumentParser):
    """An argument parser that raises what it refuses, and what it cannot write."""

    def print_help(self, file: Any = None) -> None:
        """Print the help; argparse itself would pass over an output that cannot be written."""
        print(self.format_help(), end="", file=file)

    def error(self, message: str) -> NoReturn:
        """Refuse.

        Raises:
            InputError: the message, with long arguments cut.
        """
        text = re.sub(rf"'([^']{{{SHOWN}}})[^']+'", r"'\1...'", " ".join(message.split()))
        raise InputError(f"{text}; see {self.prog} --help")


def require_command(arguments: Sequence[str], known: Sequence[str]) -> None:
    """Refuse a command that does not exist, naming the nearest.

    Raises:
        UnknownNameError: the first argument that is no flag is none of the ``known``.
    """
    first = next((argument for argument in arguments if not argument.startswith("-")), None)
    if first is not None and first not in known:
        raise UnknownNameError("command", first[:SHOWN], known)
