"""A comparison as text for a terminal, and as HTML for a notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import inf, isnan, log, nan
from typing import Any

import pandas as pd

from .words import number

#: columns that are shown, with their heads
SHOWN = {
    "squared_gradient": "grad^2",
    "gradient_ratio": "ratio",
    "cosine_above_0.5": "cos>0.5",
    "cosine_above_0.9": "cos>0.9",
    "variance": "variance",
    "branch_share": "share",
    "logit_variance": "logits",
    "loss": "loss",
    "global_gradient_norm": "grad norm",
    "gradient_law": "gradient law",
    "gradient_from": "from",
    "forward_law": "forward law",
    "forward_from": "from",
}

#: standard errors from which on a difference is marked, the mark, and the relative size of rounding errors
BEYOND, OFF, ROUNDING = 3, "*", 1e-6

#: columns of a table in print, without laws, which are long
DECIDING = (
    *("candidate", "squared_gradient", "gradient_ratio", "cosine_above_0.9", "variance"),
    *("loss", "global_gradient_norm"),
)

#: what the heads mean, below the table
LEGEND = (
    "grad^2: squared gradient norm at the embedding over that at the output, behind the last norm; ratio: "
    "its largest between two layers; cos>c: first layer with a token cosine above c; variance, share (the "
    "last block's squared update over it), logits (second moment): at the top; loss, grad norm (of all "
    "weights): at step 0"
)
OF_LAWS = "; from: depth from which the law's shape holds"


def legend(table: pd.DataFrame) -> str:
    """What the heads of a table mean."""
    return LEGEND + (OF_LAWS if "gradient_law" in table else "")


def deciding(table: pd.DataFrame) -> list[str]:
    """Columns of a table in print that have a value, as logarithms where numbers leave float64's range."""
    found = []
    for name in DECIDING:
        logs = f"log_{name}"
        beyond = logs in table and bool(table[name].isin([0.0, inf]).any())
        found.append(logs if beyond else name)
    return [name for name in found if name in table and table[name].notna().any()]


def cells(table: pd.DataFrame) -> list[list[str]]:
    """Heads, then a row for each candidate."""
    shown = [name for name in SHOWN if name in table]
    rows = [["candidate", *(SHOWN[name] for name in shown)]]
    for row in table.to_dict("records"):
        rows.append([str(row["candidate"]), *(_cell(row, name) for name in shown)])
    return rows


def _cell(row: Mapping[Any, Any], name: str) -> str:
    value = row[name]
    if isinstance(value, str):
        return value
    if f"log_{name}" in row:
        shown = "-" if isnan(row[f"log_{name}"]) else number(row[f"log_{name}"])
    elif isnan(value):
        never = name.startswith("cosine_above") and not isnan(row["token_cosine"])  # which is at the top
        return "never" if never else "-"
    else:
        shown = number(log(value)) if value > 0 else f"{value:.3g}"
    measured = row.get(f"{name}_mc")
    if measured is None or isnan(measured):
        return shown
    error = row[f"{name}_se"]
    bars = f" ± {error:.1g}" if error > ROUNDING * abs(measured) else ""
    return f"{shown} ({measured:.3g}{bars}){OFF if off(row, name) else ''}"


def off(row: Mapping[Any, Any], name: str) -> bool:
    """Whether theory and networks differ by more than ``BEYOND`` standard errors, and by what is shown."""
    if f"{name}_mc" not in row:
        return False
    value, measured = row[name], row[f"{name}_mc"]
    return bool(abs(value - measured) > max(BEYOND * row.get(f"{name}_se", nan), ROUNDING * abs(measured)))


def remark(table: pd.DataFrame) -> str:
    """Why theory and networks differ, where they do; else empty."""
    rows = [row for row in table.to_dict("records") if any(off(row, name) for name in SHOWN)]
    if not rows:
        return ""
    ratios = sorted({f"{row['depth'] / row['width']:.2g}" for row in rows}, key=float)
    return (
        f"{OFF}: networks are more than {BEYOND} standard errors off the theory, which is of infinite width; "
        f"L/d = {', '.join(ratios)} is the usual reason, and spannorm verify decides"
    )


def text(table: pd.DataFrame, sentences: Sequence[str]) -> str:
    """Table, its legend, and the sentences."""
    rows = cells(table)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    said = remark(table)
    return "\n".join([*lines, legend(table), "", *sentences, *([said] if said else [])])


def html(table: pd.DataFrame, sentences: Sequence[str]) -> str:
    """A comparison as an HTML table, its legend, and a list of the sentences."""
    head, *rows = cells(table)
    body = "".join(f"<tr>{''.join(f'<td>{escape(c)}</td>' for c in row)}</tr>" for row in rows)
    heads = "".join(f"<th>{escape(c)}</th>" for c in head)
    why = remark(table)
    said = "".join(f"<li>{escape(one)}</li>" for one in sentences)
    return (
        f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
        f"<p>{escape(legend(table))}</p><ul>{said}</ul>" + (f"<p>{escape(why)}</p>" if why else "")
    )
