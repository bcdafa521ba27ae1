"""The large-depth laws of a candidate, as the atlas has them, for the columns of a table."""

from __future__ import annotations

from math import nan

from ..atlases.cell import compute
from ..atlases.records import Found
from ..base.errors import AssumptionError
from ..spec.architecture import Architecture
from ..spec.independence import require_independent

#: what laws are given of: the forward variance, and the squared gradient at the embedding
QUANTITIES = ("forward", "gradient")

#: CPU seconds after which the laws of a candidate are given up
SECONDS = 30.0

NONE = "no law"


def laws(arch: Architecture) -> dict[str, str | float]:
    """Columns ``X_law``, its numbers, and ``X_from``, the depth from which on its shape holds to 10 %.

    A law is of the placement and its rule at the candidate's branch gains, without a mask and for an input
    of second moment one. Where none is derived, the text says so, with what was fitted; ``X_from`` is NaN
    where no depth up to 2,500 is.
    """
    columns: dict[str, str | float] = {}
    try:
        require_independent(arch)
    except AssumptionError as error:
        for name in QUANTITIES:
            columns |= {f"{name}_law": f"{NONE}: {error}", f"{name}_from": nan}
        return columns
    cell = compute(arch, (), SECONDS)
    for name in QUANTITIES:
        found = cell.found.get(name)
        columns[f"{name}_law"] = f"{NONE}: {cell.problem}" if found is None else text_of(found)
        late = found is None or found.law is None or found.since is None
        columns[f"{name}_from"] = nan if late or found is None else float(found.since or 0)
    return columns


def text_of(found: Found) -> str:
    """A law's numbers, or that there is none, with what was fitted."""
    if found.law is not None:
        return str(found.trend)
    return NONE if found.trend is None else f"{NONE} (fitted: {found.trend})"
