"""Devices, threads and memory of the machine."""

from __future__ import annotations

import os

import torch

from ..base import arguments
from ..base.errors import InputError
from ..base.memory import available_memory as host_memory


def choose_device(name: str | torch.device) -> torch.device:
    """The device called ``name``; "auto" is CUDA where there is one, else the CPU.

    Raises:
        InputError: the device does not exist here.
    """
    name = arguments.device(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return torch.device("cpu")
    index = int(name.partition(":")[2] or 0)
    if not torch.cuda.is_available() or index >= torch.cuda.device_count():
        raise InputError(f"the device {name!r} is not available on this machine; use device='cpu' or 'auto'")
    return torch.device("cuda", index)


def cores() -> int:
    """CPU cores that this process may use."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(torch.get_num_threads(), allowed))


def available_memory(device: torch.device) -> int:
    """Bytes that can be taken on ``device`` without swapping or evicting others."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return host_memory()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on the host or a device."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def prepare_worker() -> None:
    """Set up the calling worker thread: one thread per operation, denormals flushed to zero.

    Workers take networks of their own and never wait for each other. Two threads per operation gain a
    third on two idle cores, but when another process takes one of the cores every operation waits for
    the scheduler at its barrier: 2 s instead of 30 ms for a block of width 4096.
    """
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
