"""How results show themselves in a notebook: tables with a small figure."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import fields
from functools import partial
from html import escape

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..spec.architecture import Architecture
from .canvas.paper import PIXELS, PaperFigure, render
from .diagram.diagram import block_diagram
from .panels import panels
from .profiles import depth_profile


def image(drawn: Axes | Figure) -> str:
    """A figure as an HTML image that needs no other file."""
    figure = drawn if isinstance(drawn, Figure) else drawn.get_figure(root=True)
    assert isinstance(figure, PaperFigure)
    width = round(PIXELS * figure.get_figwidth())
    data = b64encode(render(figure, "png")).decode()
    return f'<img width="{width}" src="data:image/png;base64,{data}">'


def architecture_html(arch: Architecture) -> str:
    """The fields of an architecture, those that are not the default in bold, beside its block."""
    rows = []
    for field in fields(Architecture):
        if field.init:
            value = getattr(arch, field.name)
            shown = escape(str(value))
            rows.append((field.name, shown if value == field.default else f"<b>{shown}</b>"))
    half = (len(rows) + 1) // 2
    cells = "".join(
        "<tr>" + "".join(f"<th>{name}</th><td>{value}</td>" for name, value in rows[i::half]) + "</tr>"
        for i in range(half)
    )
    drawn = image(block_diagram(arch.placement, scaling=arch.scaling, title=False))
    return (
        f'<div style="display:flex;align-items:center;gap:2em"><table>{cells}</table><div>{drawn}</div></div>'
    )


def ensemble_image(table: pd.DataFrame) -> str:
    """Variance, gradient and token cosine of an ensemble against depth."""
    quantities = {"forward variance": "variance", "gradient": "grad_variance", "tokens": "token_cosine"}
    drawings = {title: partial(_profile, table, quantity) for title, quantity in quantities.items()}
    return image(panels(drawings, height=1.7, legend="1" in set(table["stream"])))


def _profile(table: pd.DataFrame, quantity: str, ax: Axes) -> None:
    depth_profile(table, quantity, stream="all", ax=ax, names=False)
