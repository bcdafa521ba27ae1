"""Tables that are made once, whatever the number of threads that ask for one at the same time."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from threading import RLock
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def made_once(maxsize: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator that keeps what a function returns, for its last ``maxsize`` arguments.

    ``functools.lru_cache`` alone calls the function in every thread that asks before the first has its
    answer: eight runs of one theory would make eight tables.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        cached, lock = lru_cache(maxsize=maxsize)(function), RLock()

        @wraps(function)
        def one_at_a_time(*args: P.args, **kwargs: P.kwargs) -> R:
            with lock:
                return cached(*args, **kwargs)  # type: ignore[arg-type]

        return one_at_a_time

    return decorate
