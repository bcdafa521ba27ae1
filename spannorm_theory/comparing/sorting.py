"""The order of candidates: what a reader asks for, the best first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from ..base.arguments import choice
from ..spec.architecture import Architecture
from .laws import QUANTITIES as LAWS
from .measures import NUMBERS, kinds
from .simulated import OF_STREAM, TRAINED

#: what candidates are sorted by -> its column, and whether the largest is the best
ORDERS: dict[str, tuple[str, bool]] = {
    "gradient": ("log_gradient_ratio", False),
    "collapse": ("token_cosine", False),
    "variance": ("log_variance", False),
    "branch_share": ("branch_share", True),
}

#: candidates in the order in which they are given
GIVEN = "given"


def columns(archs: Sequence[Architecture], laws: bool, networks: bool) -> tuple[str, ...]:
    """Every column of the table of some candidates, by which they are sorted, the smallest first."""
    labels = ("candidate", *archs[0].labels, "theory", "problem")
    weights = dict.fromkeys(f"weight_ratio {name}" for arch in archs for name in _learnt(arch))
    of_laws = [f"{name}_{end}" for name in LAWS for end in ("law", "from")] if laws else []
    measured = (
        [f"{name}_{end}" for name in (*OF_STREAM, *TRAINED) for end in ("mc", "se")] if networks else []
    )
    return (*labels, *NUMBERS, *weights, *of_laws, *measured)


def _learnt(arch: Architecture) -> list[str]:
    """All that has a gradient, without attention but for its matrices."""
    return [name for name in arch.learnt if not name.startswith("attn.") or "attention" in kinds(arch)]


def require_order(sort_by: Any, known: Sequence[str]) -> None:
    """Refuse an order that no table of these columns has.

    Raises:
        UnknownNameError: naming the nearest.
    """
    choice("order of candidates", sort_by, dict.fromkeys((GIVEN, *ORDERS, *known)))


def ordered(table: pd.DataFrame, sort_by: str) -> pd.DataFrame:
    """Rows by one of :data:`ORDERS` or by a column, the smallest first; rows that have none come last."""
    column, largest = ORDERS.get(sort_by, (sort_by, False))
    if column not in table:  # as given, or no candidate has numbers
        return table
    return table.sort_values(column, ascending=not largest, kind="stable", na_position="last")
