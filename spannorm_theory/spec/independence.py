"""The assumption of all theory here that each block has matrices of its own."""

from __future__ import annotations

from ..base.errors import AssumptionError
from .fields import Fields


def require_independent(arch: Fields) -> None:
    """Refuse blocks that have the same matrices, or the same numbers at the start: what they add is
    correlated over blocks, where the theory adds second moments.

    Raises:
        AssumptionError: saying what to do.
    """
    if arch.unique_blocks is not None:
        raise AssumptionError(
            "the theory takes every block's matrices as drawn for it, and "
            f"unique_blocks={arch.unique_blocks} gives several blocks the same, whose updates add up; "
            "simulate(...) measures them"
        )
