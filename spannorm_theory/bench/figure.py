"""The speed benchmark as a figure: time and memory against width, and time against tokens."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..base.files import make_folder
from ..plot.canvas.marks import sequence_style
from ..plot.canvas.paper import DOUBLE, new_figure, paper, save
from .speed import CONTESTANTS

LABELS = {
    "plain": "modules for every seed",
    "tuned": "modules, made once",
    "explicit": "explicit engine",
    "implicit": "implicit engine",
    "floor": "floor",
}


def speed_figure(table: pd.DataFrame, width: float = DOUBLE) -> Figure:
    """Three panels from the table of :func:`spannorm_theory.bench.speed.speed`; the first architecture."""
    first = table.iloc[0]
    table = table[(table["placement"] == first["placement"]) & (table["scaling"] == first["scaling"])]
    tokens, place = _most_common(table, "tokens"), _most_common(table, "width")
    across = table[table["tokens"] == tokens].sort_values("width")
    along = table[table["width"] == place].sort_values("tokens")
    with paper():
        figure = new_figure(width, 0.36 * width)
        time, memory, length = figure.subplots(1, 3)
        _panel(time, across, "width", "", "seconds per network", f"{tokens} tokens")
        _panel(memory, across, "width", "_mib", "peak memory (MiB)", f"{tokens} tokens")
        _panel(length, along, "tokens", "", "seconds per network", f"width {place}")
        handles, labels = time.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(CONTESTANTS))
    return figure


def _most_common(table: pd.DataFrame, column: str) -> int:
    return int(table[column].value_counts().index[0])


def _panel(ax: Axes, table: pd.DataFrame, x: str, suffix: str, label: str, title: str) -> None:
    for index, name in enumerate(CONTESTANTS):
        style, values = sequence_style(index), table[f"{name}{suffix}"]
        ax.plot(table[x], values, **{**style.points, **style.line}, label=LABELS[name])
        if not suffix:
            ax.fill_between(
                table[x], table[f"{name}_min"], table[f"{name}_max"], color=style.colour, alpha=0.15, lw=0
            )
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ticks = sorted(set(table[x]))
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.minorticks_off()
    ax.set(xlabel=x, ylabel=label, title=title)


def write_figure(table: pd.DataFrame, folder: str | Path) -> list[Path]:
    """``speed.pdf`` and ``speed.png`` in ``folder``.

    Raises:
        InputError: a folder that cannot be made or written to.
    """
    folder = make_folder(folder)
    figure = speed_figure(table)
    return [save(figure, folder / f"speed.{form}") for form in ("pdf", "png")]
