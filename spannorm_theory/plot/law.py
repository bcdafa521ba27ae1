"""Curves over depth on the law that they are to follow: beside it, and divided by it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from ..base import arguments
from ..base.callables import calling
from ..base.errors import InputError, shown
from ..base.quantities import INPUT, QUANTITIES, Array
from ..spec.architecture import Architecture
from ..spec.arguments import architecture
from .alike import require_alike
from .canvas.marks import placement_label, placement_style
from .canvas.names import fits_at_ends, name_ends
from .canvas.paper import new_figure, paper, venue
from .canvas.scales import FLOAT_RANGE, Ordinate, dress_value_axis
from .canvas.series import Look, columns_that_fit, draw_line, draw_points, handle, meaning
from .curves import Drawn, Tables, interval, join, listed, require_one

#: what laws are, in messages
LAWS = "a mapping of placements to laws of the atlas, st.atlas(...).cells[i].found['gradient'].trend"

#: a law's text that can be set as a formula
FORMULA = re.compile(r"(?:[-+.\d()/* ]|L|e|ln|\^(?=\(?-?[.\d]))+")

#: depth from which a law in ln ln L is a number
LEAST = 2


class Law(Protocol):
    """A law of large depth, as a cell of the atlas has it: ``st.atlas(...).cells[i].found[name].trend``."""

    def log_at(self, L: float) -> float:
        """ln f(L)."""


def against_law(
    tables: Tables,
    quantity: str = "grad_variance",
    laws: Mapping[str, Law] | None = None,
    *,
    width: float | None = None,
) -> Figure:
    """Draw a quantity against depth with its laws, and the same divided by them: flat where a law holds.

    Each law goes through the theory's deepest point, whose constant it takes: only its shape is tested.

    Args:
        tables: architectures of several depths, from 2 blocks on; what ``predict``, ``simulate`` or
            ``verify`` return of such.
        quantity: "variance", at the output; or "grad_variance", at the embedding.
        laws: by placement, one of each that is drawn; there are none by default.
        width: of the figure, in inches.

    Returns:
        the figure.

    Raises:
        InputError: another quantity, a single depth, stacks of one placement that differ in more than depth,
            or a placement without a law, or with one that is no number at some depth.

    Example:
        >>> import spannorm_theory as st
        >>> cells = st.atlas(["pre-norm"], "unit", progress=False).cells
        >>> laws = {cell.arch.placement: cell.found["gradient"].trend for cell in cells}
        >>> stacks = [f"pre-norm unit depth={depth} width=64 heads=2 tokens=8" for depth in (2, 4, 8)]
        >>> len(st.plot.against_law(stacks, "grad_variance", laws).axes)
        2
    """
    quantity = arguments.choice("quantity of a law", quantity, ("variance", "grad_variance"))
    if not isinstance(laws, Mapping):
        raise InputError(f"laws must be {LAWS}, got {arguments.described(laws)}")
    parts = listed(tables)
    require_alike(_architectures(parts), ("depth",))
    found = _ends(join(parts), quantity)
    missing = sorted(set(found) - set(laws))
    if missing:
        raise InputError(f"there is no law of {', '.join(missing)}; pass one of each placement that is drawn")
    for name in found:
        if not callable(getattr(laws[name], "log_at", None)) or isinstance(laws[name], type):
            raise InputError(f"laws must be {LAWS}, got {shown(laws[name])} of {name}")
    alone = [name for name, rows in found.items() if rows["depth"].nunique() < 2]
    if alone:
        raise InputError(f"a law in depth needs several depths; {', '.join(alone)} has one")
    with paper():
        figure = new_figure(venue().full if width is None else width, 2.5 * venue().scale)
        plain, divided = figure.subplots(1, 2)
        for ax in (plain, divided):
            dress_value_axis(ax, Ordinate("log"))
            ax.set_xscale("log", base=2)
            ax.xaxis.set_major_locator(LogLocator(base=4, numticks=8))
            ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
            ax.xaxis.set_minor_formatter(NullFormatter())
            ax.grid(visible=True, color="0.92", linewidth=0.5)
            ax.set_xlabel("depth $L$")
        looks, ends = [], []
        for name, rows in found.items():
            look = Look(placement_style(name), placement_label(name))
            last = _draw(plain, divided, rows, laws[name], look)
            named = [look.label, *filter(None, [formula(laws[name])])]
            looks.append(Look(look.style, ", ".join(named)))
            ends.append(last)
        symbol, place = QUANTITIES[quantity].latex, "0" if quantity == "grad_variance" else "L"
        plain.set_ylabel(f"{QUANTITIES[quantity].label} ${symbol}_{place}$")
        divided.set_ylabel(f"${symbol}_{place}$ / its law")
        divided.axhline(1.0, color="0.6", linewidth=0.6 * venue().scale, zorder=1)
        handles = [handle(Look(look.style, look.label.split(",")[0])) for look in looks]
        if fits_at_ends(plain, looks):
            name_ends(plain, looks, ends)
            handles = []
        handles += meaning([plain, divided])
        columns = columns_that_fit([str(h.get_label()) for h in handles], figure.get_figwidth() * 72)
        figure.legend(handles=handles, loc="outside upper center", ncols=columns)
    return figure


def _architectures(parts: Sequence[Drawn]) -> Iterator[Architecture]:
    """Architectures that are known of what is drawn: tables name placement, rule and sizes alone."""
    for part in parts:
        if isinstance(part, (Architecture, str)):
            yield architecture(part)
        elif isinstance(found := getattr(part, "arch", None), Architecture):
            yield found


def formula(law: Law) -> str:
    """The shape of a law, without its constant, as text of a figure; empty where its text is no formula."""
    text = re.sub(r"^[-+.\de]+ (?=\S)", "", str(law))
    if re.fullmatch(r"[-+.\de]+|constant", text):
        return "constant"
    if not FORMULA.fullmatch(text):
        return ""  # of a law that is written in another way
    text = re.sub(r"\^\(([^)]*)\)", r"^{\1}", text)
    text = re.sub(r"\^(-?[.\d]+)", r"^{\1}", text).replace("ln", r"\ln ")
    return rf"$\propto {text}$"


def _ends(rows: pd.DataFrame, quantity: str) -> dict[str, pd.DataFrame]:
    """By placement, a row for each depth: the quantity at the output, or of gradients at the embedding."""
    rows = rows[(rows["quantity"] == quantity) & (rows["depth"] >= LEAST)]
    if quantity == "grad_variance":
        rows = rows[rows["layer"] == 0]
        whole = rows[rows["stream"] == INPUT[0]]  # of several streams
        rows = pd.concat([whole, rows[(rows["stream"] == "0") & ~rows["placement"].isin(whole["placement"])]])
    else:
        rows = rows[rows["layer"] == rows["depth"]]
    if rows.empty:
        raise InputError(f"the table has no {quantity} at the end of a stack")
    for column in ("scaling", "width", "tokens"):
        if len(known := {str(value) for value in rows[column]}) > 1:
            found = ", ".join(sorted(known))
            raise InputError(f"the curves of a law differ in depth alone, and not in {column} ({found})")
    return {str(name): _of_one(rows[rows["placement"] == name]) for name in dict.fromkeys(rows["placement"])}


def _of_one(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of one placement by depth; of several streams the one that is largest, as laws have it."""
    rows = rows.sort_values("depth", kind="stable")
    deepest = rows[rows["depth"] == rows["depth"].max()]
    largest = deepest["log_theory"].fillna(deepest["log_estimate"]).idxmax()
    own = rows[rows["stream"] == str(rows["stream"][largest])]
    require_one(own, f"{own['quantity'].iloc[0]} of {own['placement'].iloc[0]}", "depth")
    return own


def _draw(plain: Axes, divided: Axes, rows: pd.DataFrame, law: Law, look: Look) -> tuple[float, float]:
    """Both curves of a placement; returns the last point of the first."""
    theory = rows[np.isfinite(rows["log_theory"])].drop_duplicates("depth")
    known = theory if len(theory) else rows[np.isfinite(rows["log_estimate"])]
    column = "log_theory" if len(theory) else "log_estimate"
    depth, logs = known["depth"].to_numpy(dtype=float), known[column].to_numpy(dtype=float)
    shift = logs[-1] - _log_at(law, depth[-1:], look.label)[0]

    def over(x: Array) -> Array:
        return np.asarray(_log_at(law, x, look.label) + shift)

    measured = rows[np.isfinite(rows["log_estimate"])]
    x = measured["depth"].to_numpy(dtype=float)
    half = interval(measured["relative_se"], measured["networks"])
    for ax, base in ((plain, np.zeros_like), (divided, over)):
        if len(theory):
            draw_line(ax, depth, _exp(logs - base(depth)), look)
        if len(measured):
            y = _exp(measured["log_estimate"].to_numpy() - base(x))
            draw_points(
                ax, x, y, y * np.stack([-np.expm1(-half), np.expm1(half)]), look, named=not len(theory)
            )
    line = {**look.style.line, "linewidth": 0.8 * venue().scale, "linestyle": ":"}
    (drawn,) = plain.plot(depth, _exp(over(depth)), **line, zorder=2.5, label="_law")
    drawn.set_gid("law")
    return float(depth[-1]), float(_exp(logs)[-1])


def _log_at(law: Law, depths: Array, name: str) -> Array:
    """ln f at some depths.

    Raises:
        InputError: the law fails, or is no number there.
    """
    with calling(law.log_at, f"the law of {name}"):
        logs = np.array([float(law.log_at(L)) for L in depths])
    if not np.isfinite(logs).all():
        raise InputError(
            f"the law of {name} is {logs[~np.isfinite(logs)][0]} at some depth; expected a number"
        )
    return logs


def _exp(logs: Array) -> Array:
    return np.asarray(np.exp(np.clip(logs, -FLOAT_RANGE, FLOAT_RANGE)))
