"""The one guard of PyTorch's settings of the whole process: set for measurements, then left as found.

They are one value for all threads, so calls that overlap are inside together: the first one in saves what it
finds, the last one out puts it back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, TypeVar

import torch
from threadpoolctl import threadpool_limits

T = TypeVar("T")
#: a backend and an operation
Level = tuple[str, str]


class Shared:
    """A context that several threads may be in at once, entered by the first and left by the last.

    Args:
        make: gives the context anew each time that nobody is inside.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[Any]]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._inside = 0
        self._entered = ExitStack()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Be inside while the block runs."""
        with self._lock:
            if self._inside == 0:
                self._entered.enter_context(self._make())
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    self._entered.close()


@contextmanager
def _measuring() -> Iterator[None]:
    threads = _in_new_thread(torch.get_num_threads)
    precision = _precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        precision()
        _in_new_thread(lambda: torch.set_num_threads(threads))


#: full float32 products (no tf32 or bfloat16 in them) while any thread is inside; after it, precision and the
#: number of threads that a new thread gets are as they were found
arithmetic = Shared(_measuring)
_libraries = Shared(lambda: threadpool_limits(1))


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for every operation of the calling thread; then as before. Libraries other than PyTorch have
    one as long as any thread of this process is inside."""
    with arithmetic():
        before = torch.get_num_threads()
        try:
            with _libraries():
                torch.set_num_threads(1)
                yield
        finally:
            torch.set_num_threads(before)


def _in_new_thread(function: Callable[[], T]) -> T:
    """The function's result in a thread of its own: the number of threads is kept twice, for the process and
    for every thread that has asked; a thread that has just begun sees the former."""
    results: list[T] = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


#: the settings of the newer interface that decide on float32 products, for CUDA and for the CPU
_CUDA, _CPU = ("cuda", "matmul"), ("mkldnn", "matmul")


def _precision() -> Callable[[], None]:
    """Puts back the precision of float32 products as it is now.

    PyTorch has two interfaces to it. The older keeps one word. The newer (2.9) keeps one for each backend and
    operation, which "none" makes that of the backend, and that of all backends; the older sets the newer
    ones, too, and refuses to be read where they differ from its own.
    """
    if not hasattr(torch._C, "_get_fp32_precision_getter"):
        word = torch.get_float32_matmul_precision()
        return lambda: torch.set_float32_matmul_precision(word)
    own = {level: _own(("generic", "all"), (level[0], "all"), level) for level in (_CUDA, _CPU)}
    word = _older_word()

    def put_back() -> None:
        torch.set_float32_matmul_precision(word)
        for level, value in own.items():
            _set(level, value)

    return put_back


def _own(*levels: Level) -> str:
    """The last level's own setting, without what it takes over from those before."""
    found = []
    for level in levels:
        found.append(_get(level))
        _set(level, "none")
    for level, value in zip(levels, found, strict=True):
        _set(level, value)
    return found[-1]


def _older_word() -> str:
    """The older interface's word: it is readable where the newer settings are among those that belong to it.
    Leaves these changed."""
    _set(_CPU, "ieee")
    _set(_CUDA, "ieee")
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # "high" and "medium" are tf32 there
        _set(_CUDA, "tf32")
        return torch.get_float32_matmul_precision()


# torch.backends.mkldnn.fp32_precision reads one level and sets another (2.9 to 2.13); these do what they say


def _get(level: Level) -> str:
    return str(torch._C._get_fp32_precision_getter(*level))


def _set(level: Level, value: str) -> None:
    torch._C._set_fp32_precision_setter(*level, value)
