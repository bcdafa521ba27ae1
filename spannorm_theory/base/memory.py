"""The memory of this machine."""

from __future__ import annotations

import os
import re
from pathlib import Path


def available_memory() -> int:
    """Bytes that can be taken without swapping or evicting others."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        found = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text())
        free = int(found.group(1)) * 1024 if found else 0
    else:
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists() and limit.read_text().strip().isdigit():
        free = min(free, int(limit.read_text()) - int(used.read_text()))
    return free


def gib(size: float) -> str:
    """Bytes as a message writes them."""
    return f"{size / 2**30:.3g} GiB"
