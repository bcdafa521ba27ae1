"""The order of candidates: what a reader asks for, the best first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from ..base.arguments import choice
from ..spec.architecture import Architecture

#: what candidates are sorted by -> its column, and whether the largest is the best
ORDERS: dict[str, tuple[str, bool]] = {
    "gradient": ("log_gradient_ratio", False),
    "collapse": ("token_cosine", False),
    "variance": ("log_variance", False),
    "branch_share": ("branch_share", True),
}

#: candidates in the order in which they are given
GIVEN = "given"

#: further columns, which are sorted by size
COLUMNS = (
    *("squared_gradient", "gradient_ratio", "cosine_above_0.5", "cosine_above_0.9", "token_cosine"),
    *("loss", "logit_variance", "global_gradient_norm"),
)


def require_order(sort_by: Any, archs: Sequence[Architecture]) -> None:
    """Refuse an order that no table of these candidates has.

    Raises:
        UnknownNameError: naming the nearest.
    """
    weights = {f"weight_ratio {name}" for arch in archs for name in arch.learnt}
    choice("order of candidates", sort_by, (GIVEN, *ORDERS, *COLUMNS, *weights))


def ordered(table: pd.DataFrame, sort_by: str) -> pd.DataFrame:
    """Rows by one of :data:`ORDERS` or by a column, the smallest first; rows that have none come last."""
    column, largest = ORDERS.get(sort_by, (sort_by, False))
    if column not in table:  # as given, or no candidate has numbers
        return table
    return table.sort_values(column, ascending=not largest, kind="stable", na_position="last")
