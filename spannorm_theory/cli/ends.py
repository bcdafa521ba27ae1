"""How a command ends: an exit status, and one line where it is not the result's own."""

from __future__ import annotations

import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from ..base.errors import InputError, SpannormError
from ..base.interrupts import Terminated

#: exit status of input that was bad, or output that could not be written
BAD = 2


def ended(command: Callable[[], int]) -> int:
    """Run a command to its end, whatever that is; returns the exit status.

    An interrupted command whose result holds what was finished has printed it, and ends with 128 + the signal
    as one without a result does.
    """
    with _signals() as received, _warnings_in_one_line():
        try:
            status = _finished(command)
        except SpannormError as error:
            return _bad(str(error))
        except BrokenPipeError:  # the reader of a pipe went away; nothing is wrong
            _drop(sys.stdout, sys.stderr)
            return 0
        except UnicodeEncodeError as error:
            return _bad(_unencodable(error))
        except OSError as error:
            if error.filename is not None:
                return _bad(f"cannot use {error.filename}: {error.strerror}")
            _drop(sys.stdout)
            return _bad(f"cannot write the output: {error.strerror or error}")
        except MemoryError:
            return _bad("memory ran out; take smaller sizes or fewer networks")
        except KeyboardInterrupt as error:
            _say("; ".join(["interrupted", *map(str, error.args)]))
            status = 128 + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)
    return 128 + received[0] if received else status


def require_encodable(text: str) -> None:
    """Refuse, before any work, an output that cannot take the characters of the result.

    Raises:
        InputError: it cannot.
    """
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError as error:
        raise InputError(_unencodable(error)) from None


def _unencodable(error: UnicodeEncodeError) -> str:
    character = error.object[error.start : error.end][:1]
    return (
        f"cannot write {character!a} to an output in {error.encoding}: set PYTHONIOENCODING=utf-8, "
        "or ask for --json"
    )


def _bad(message: str) -> int:
    _say(message)
    return BAD


def _say(message: str) -> None:
    with suppress(OSError, ValueError):  # nobody can be told that nobody can be told
        print(f"spannorm: {' '.join(message.split())}", file=sys.stderr, flush=True)


def _finished(command: Callable[[], int]) -> int:
    """The status of a command whose output is written, where a failure is still told from success."""
    try:
        status = command()
    except SystemExit as error:  # of --help, and of a process that has served another
        status = error.code if isinstance(error.code, int) else 0
    if sys.stdout is not None:
        sys.stdout.flush()
    return status


def _drop(*streams: Any) -> None:
    """Close streams with what they could not write, which Python would try and report again at its end."""
    for stream in streams:
        with suppress(OSError, ValueError, AttributeError):
            stream.close()


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Make SIGTERM an interrupt as Ctrl-C is, while the block runs; the list is of those that came."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received  # Python gives handlers to the main thread alone
        return

    def handle(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """Say warnings as errors are said, without the line of code that they come from."""

    def show(message: Warning | str, *where: Any, **more: Any) -> None:
        _say(str(message))

    before = warnings.showwarning
    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before
