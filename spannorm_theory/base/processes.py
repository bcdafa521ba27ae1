"""Worker processes that end when whoever started them lets go of them, or dies."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from typing import Any


def follow(parent: Any) -> None:
    """Leave Ctrl-C to the parent, and end this process when the other end of the pipe ``parent`` closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def watch() -> None:
        # the parent alone holds the other end: this returns when it closes it, or dies
        with suppress(EOFError, OSError):
            parent.recv_bytes()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
