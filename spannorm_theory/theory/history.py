"""What a loop over layers collects."""

from __future__ import annotations

from struct import pack

import numpy as np

from ..components.kernels import Array


def table(numbers: list[float], rows: int) -> Array:
    """Numbers in the order they were collected, as many for each row; not to be written to.

    Packing them takes half the time of ``np.fromiter``.
    """
    return np.frombuffer(pack(f"{len(numbers)}d", *numbers)).reshape(rows, -1)
