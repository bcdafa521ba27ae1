r"""Tables for a paper: tidy tables and verifications as LaTeX with booktabs rules, ready for \input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..base import arguments
from ..base.arguments import Result
from ..base.errors import InputError
from ..base.files import write_file
from ..verification.outcome import Verification
from .latex_text import escape

_WORST = ("quantity", "stream", "layer", "theory", "estimate", "se", "z", "verdict")


def write_latex(
    source: pd.DataFrame | Verification | Result | Sequence[Verification],
    path: str | Path,
    columns: Sequence[str] | str | None = None,
) -> Path:
    r"""Write a table for ``\input{...}``; the document needs ``\usepackage{booktabs}``.

    Args:
        source: a table as it is; a verification, as its worst layer of each quantity; several, as one row
            each with their largest deviation and verdict; or any other result, as its table.
        path: of the file; one that is there is replaced.
        columns: which columns, in order; None takes all (of a verification or a comparison, those that
            matter).

    Returns:
        the path.

    Raises:
        InputError: an unknown column, nothing to write, or a file that cannot be written.

    Example:
        >>> import tempfile
        >>> import spannorm_theory as st
        >>> table = st.predict("pre-norm depth=2 width=32 heads=2 tokens=4")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = st.write_latex(table, f"{folder}/table.tex", ["layer", "quantity", "value"])
        ...     path.read_text().splitlines()[-1]
        ...
        '\\end{tabular}'
    """
    path = arguments.path("path", path)
    columns = None if columns is None else arguments.names("columns", columns)
    if isinstance(source, Verification):
        table = source.worst()
        columns = list(_WORST) if columns is None else columns
    elif isinstance(source, (list, tuple)):
        several = [arguments.instance("each source", one, Verification, "verify") for one in source]
        table = pd.DataFrame([_summary(one) for one in several])
    else:
        wanted = "a table, a result that has one, or verifications"
        table = arguments.table("source", source, (), wanted)
        columns = getattr(source, "deciding", None) if columns is None else columns
    unknown = sorted(set(columns or ()) - set(table.columns))
    if unknown or table.empty:
        raise InputError(
            f"the table has no column {', '.join(unknown)}; it has {', '.join(map(str, table.columns))}"
            if unknown
            else "an empty table cannot be written"
        )
    return write_file(path, as_latex(table[list(columns)] if columns else table))


def as_latex(table: pd.DataFrame) -> str:
    """A ``tabular`` with booktabs rules: numbers right, text left."""
    numeric = [
        pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind) for kind in table.dtypes
    ]
    rows = [[_cell(value) for value in row] for row in table.itertuples(index=False)]
    header = [escape(str(name).replace("_", " ")) for name in table.columns]
    lines = [
        r"\begin{tabular}{" + "".join("r" if number else "l" for number in numeric) + "}",
        r"\toprule",
        " & ".join(header) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _summary(one: Verification) -> dict[str, Any]:
    tested = one.table[~one.table["verdict"].isin(["rare", "not predicted"])]
    worst = tested.sort_values("gate").iloc[-1]
    return {
        "placement": one.arch.placement,
        "scaling": one.arch.scaling,
        "networks": one.ensemble.networks,
        "rows": len(tested),
        "largest z": float(tested["z"].abs().max()),
        "gate used": float(worst["gate"]),
        "by": f"{worst['quantity']} of {worst['stream']}",
        "verdict": f"{len(one.failures)} rows off" if len(one.failures) else one.verdict,
    }


def _cell(value: object) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, str):
        return escape(value)
    if not isinstance(value, (int, float)) and not hasattr(value, "dtype"):
        return escape(str(value))
    number = float(value)  # type: ignore[arg-type]  # numpy's numbers
    if math.isnan(number):
        return "--"
    if math.isinf(number):
        return r"$-\infty$" if number < 0 else r"$\infty$"
    mantissa, _, exponent = f"{number:.3g}".partition("e")
    if exponent:
        return rf"${mantissa} \times 10^{{{int(exponent)}}}$"
    whole = f"{number:.0f}" if number == round(number) else mantissa
    return f"${whole}$" if whole.startswith("-") else whole
