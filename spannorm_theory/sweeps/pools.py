"""Executors: the process pool of this machine, and whatever else takes a function and its argument."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for_futures
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from ..base import arguments
from ..base.processes import follow
from .worker import DEVICE

#: submissions that an executor of unknown size is given at a time; a Slurm array holds 1,001 by default
IN_FLIGHT = 1000
#: seconds between looks at futures that cannot be waited for
POLL = 0.2


class Promise(Protocol):
    """The part of a future that every executor has."""

    def done(self) -> bool:
        """Whether there is a result."""

    def result(self) -> Any:
        """The result, or raises."""

    def cancel(self) -> Any:
        """Give up."""


def _serve(parent: Any, devices: Any) -> None:
    """Prepare a worker process: one thread, a device, no answer to Ctrl-C, and death with the parent."""
    follow(parent)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    if devices is not None:
        os.environ[DEVICE] = devices.get()


class LocalPool:
    """Processes of this machine, started afresh, that can be replaced when one dies.

    Args:
        workers: how many; None takes the cores that this process may use, or one for each device.
        devices: a device for each worker; none on the CPU.
    """

    def __init__(self, workers: int | None = None, devices: Sequence[str] = ()) -> None:
        self.devices = tuple(devices)
        known = len(self.devices) or cores()
        self.workers = known if workers is None else arguments.whole("workers", workers, 1)
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        # each process takes one; several workers on a device share it
        queue = context.SimpleQueue() if self.devices else None
        if queue is not None:
            for i in range(self.workers):
                queue.put(self.devices[i % len(self.devices)])
        reader, self._lifeline = context.Pipe(duplex=False)
        self._pool = ProcessPoolExecutor(
            self.workers, mp_context=context, initializer=_serve, initargs=(reader, queue)
        )

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """A future of the call, as of any executor."""
        return self._pool.submit(function, *arguments)

    def rebuild(self) -> None:
        """Replace a pool that lost a worker."""
        self.abandon()
        self._start()

    def abandon(self) -> None:
        """End every worker now."""
        # one that is loading a library answers to no closed pipe until it has it
        for process in list((getattr(self._pool, "_processes", None) or {}).values()):
            process.terminate()
        self._lifeline.close()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def close(self) -> None:
        """End the workers, which have nothing left to do."""
        self._pool.shutdown(wait=True)
        self._lifeline.close()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cuda_devices() -> list[str]:
    """Every CUDA device that this process sees."""
    import torch

    return [f"cuda:{i}" for i in range(torch.cuda.device_count())]


def room(executor: Any) -> int:
    """Submissions in flight: enough that no worker waits, few enough to leave the rest to others. Where there
    is no Slurm, submitit starts a process for each at once."""
    if isinstance(executor, LocalPool):
        return 2 * executor.workers
    return cores() if getattr(executor, "cluster", None) in ("local", "debug") else IN_FLIGHT


def batch(executor: Any) -> AbstractContextManager[Any]:
    """Make one array of all submissions inside, where the executor can (submitit)."""
    return executor.batch() if hasattr(executor, "batch") else nullcontext()


def wait_for_some(promises: Iterable[Promise]) -> list[Promise]:
    """The futures that are done, as soon as there is one."""
    promises = list(promises)
    if all(isinstance(promise, Future) for promise in promises):
        futures: list[Any] = promises
        return list(wait_for_futures(futures, return_when=FIRST_COMPLETED).done)
    while True:
        done = [promise for promise in promises if promise.done()]
        if done:
            return done
        time.sleep(POLL)
