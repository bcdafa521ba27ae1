"""Positions of the rows of a table by position: those asked for, or some that show all."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..base.errors import AssumptionError, InputError, UnknownNameError, shown
from .position_grid import position_grid

if TYPE_CHECKING:
    from ..spec.architecture import Architecture

#: tokens up to which all are shown where no mask tells them apart
ALL = 64


def shown_positions(
    arch: Architecture, by: str | None, positions: Sequence[int] | None = None
) -> NDArray[np.int64] | None:
    """Positions of a table's rows, from 1; None for a table of averages over tokens.

    Args:
        by: "position", or None for averages.
        positions: those to show; None for the grid of :func:`.position_grid.position_grid`, and without a
            mask for every token of up to 64.

    Raises:
        InputError: ``by`` is no such word, or positions that the sequence does not have, that come twice or
            that no table shows.
    """
    if by is None:
        if positions is not None:
            raise InputError("positions are shown in tables by position; add by='position'")
        return None
    if by != "position":
        raise UnknownNameError("column to show a table by", by, ("position",))
    if positions is not None:
        return _checked(positions, arch.tokens)
    if arch.mask != "causal" and arch.tokens <= ALL:
        return np.arange(1, arch.tokens + 1)
    try:
        return position_grid(arch.tokens, arch.narrowest, arch.mask == "causal").positions + 1
    except AssumptionError:
        window, tokens = arch.narrowest, arch.tokens
        raise InputError(
            f"a window of {window} in {tokens} tokens has too many positions to show; say which, as "
            f"positions=[1, {window}, {tokens}]"
        ) from None


def _checked(positions: Sequence[int], tokens: int) -> NDArray[np.int64]:
    asked = shown(positions)
    try:
        numbers = [-1 if isinstance(p, (bool, np.bool_)) else index(p) for p in positions]
    except TypeError:
        numbers = []
    if not numbers or not all(1 <= number <= tokens for number in numbers):
        raise InputError(f"positions must be a list of integers from 1 to {tokens}, the tokens, got {asked}")
    if len(set(numbers)) < len(numbers):
        raise InputError(f"each position must come once, got {asked}")
    return np.array(numbers)
