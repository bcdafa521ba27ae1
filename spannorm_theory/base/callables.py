"""The guard around functions of the user: an error of theirs is named with its file and line."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .errors import InputError, SpannormError, shown


@contextmanager
def calling(function: Callable[..., Any], what: str, hint: str = "", file: str = "") -> Iterator[None]:
    """Turn an exception of a user's function into one of ours, which names it and where it was raised.

    Errors of the toolkit pass, as does memory that has run out, for which a smaller batch may be enough.

    Args:
        function: what is called in the block.
        what: its name in the message, as "the scaling rule 'mine'".
        hint: what it is called with.
        file: which the function runs, where that is not the one that defines it.

    Raises:
        InputError: the function raised something else; that is chained to it.
    """
    try:
        yield
    except (SpannormError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        if type(error).__name__ == "OutOfMemoryError":  # torch's, which the theory does not import
            raise
        place = _place_in(file, error) if file else _place(function, error)
        message = " ".join(str(error).split())
        told = f"{type(error).__name__}: {message if len(message) <= 200 else message[:200] + ' ...'}"
        raise InputError(f"{what} failed{hint}: {told}{f' ({place})' if place else ''}") from error


def require_callable(function: Any, what: str, wanted: str) -> None:
    """Refuse what cannot be called.

    Raises:
        InputError: saying what is ``wanted``.
    """
    if not callable(function):
        raise InputError(f"{what} must be {wanted}, got {shown(function)}")


def _place(function: Callable[..., Any], error: BaseException) -> str:
    """File and line of the innermost step in the function's own file, or of its definition."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return ""
    return _place_in(code.co_filename, error) or f"{code.co_filename}:{code.co_firstlineno}"


def _place_in(file: str, error: BaseException) -> str:
    """File and line of the innermost step in a file, or of what is no Python there; empty where there is
    none."""
    lines = [step.lineno for step in traceback.extract_tb(error.__traceback__) if step.filename == file]
    if isinstance(error, SyntaxError) and error.filename == file:
        lines.append(error.lineno)
    return f"{file}:{lines[-1]}" if lines else ""
