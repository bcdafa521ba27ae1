"""The page that figures are made for: sizes, fonts and stable files, by venue.

Nothing here changes matplotlib's globals: figures are made and saved inside :func:`paper`, with the
settings of the style in force. A figure remembers the settings it was made with, so that it is saved with
them whatever style is in force by then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...base import arguments
from ...base.errors import InputError
from ...base.files import write_file

#: widths in inches: one column and two columns of ICML
COLUMN, DOUBLE = 3.25, 6.75
#: inches that a figure may be wide or high: what PDF allows
LARGEST = 200

RC: dict[str, Any] = {
    "font.family": "STIXGeneral",
    "mathtext.fontset": "stix",
    "text.usetex": False,
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "legend.columnspacing": 1.4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.minor.size": 1.6,
    "ytick.minor.size": 1.6,
    "axes.axisbelow": True,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "spannorm",
    "savefig.dpi": 200,
    "figure.dpi": 100,
}
_LENGTHS = ("linewidth", "major.width", "minor.width", "major.size", "minor.size")


@dataclass(frozen=True)
class Venue:
    """A page: widths in inches of one column and of the full text, and settings beyond :data:`RC`.

    Attributes:
        scale: factor on line widths, markers and the heights of panels.
    """

    name: str
    column: float
    full: float
    changes: Mapping[str, Any] = field(default_factory=dict)
    scale: float = 1.0

    @property
    def rc(self) -> dict[str, Any]:
        """All settings, as matplotlib's rcParams."""
        scaled = {key: value * self.scale for key, value in RC.items() if key.endswith(_LENGTHS)}
        return {**RC, **scaled, **self.changes}


HOUSE = Venue("house", COLUMN, DOUBLE)
_SLIDE_TEXT = ("font.size", "axes.titlesize", "axes.labelsize")
_SLIDE_MARKS = ("xtick.labelsize", "ytick.labelsize", "legend.fontsize")
_TALK = {**dict.fromkeys(_SLIDE_TEXT, 16), **dict.fromkeys(_SLIDE_MARKS, 14)}

#: style -> the year of its entries in tueplots
_TUEPLOTS = {"neurips": "neurips2024", "icml": "icml2024", "iclr": "iclr2024", "tmlr": "tmlr2023"}
STYLES = ("house", *_TUEPLOTS, "talk")


def _venue(name: str) -> Venue:
    """The page of a style: text widths and font sizes of the venue's class file, as tueplots has them;
    fonts stay STIX, which every one of them accepts beside Times.

    Raises:
        UnknownNameError: no such style.
    """
    name = arguments.choice("style", name, STYLES)
    if name == "house":
        return HOUSE
    if name == "talk":  # 16:9 slides of 13.3 x 7.5 inches
        return Venue(name, 6.2, 12.3, _TALK, scale=1.8)
    from tueplots import figsizes, fontsizes

    entry = _TUEPLOTS[name]
    if hasattr(figsizes, f"{entry}_half"):
        names = f"{entry}_half", f"{entry}_full"
        column, full = (getattr(figsizes, name)()["figure.figsize"][0] for name in names)
    else:  # text of one column: a figure takes half of it, where two stand side by side
        full = getattr(figsizes, entry)()["figure.figsize"][0]
        column = full / 2
    return Venue(name, column, full, getattr(fontsizes, entry)())


_in_force = HOUSE


class style:  # used like a function
    """Make figures for a venue from now on, or inside a ``with`` block.

        st.plot.style("icml")                    # until the next call
        with st.plot.style("talk"): ...          # until the block ends

    Args:
        name: "neurips", "icml", "iclr", "tmlr" (widths and font sizes of their class files), "talk"
            (16:9 slides), or "house", which is in force at first.

    Attributes:
        rc: the settings, for figures of your own: ``matplotlib.rcParams.update(st.plot.style("icml").rc)``.

    Raises:
        UnknownNameError: no such style.

    Example:
        >>> import spannorm_theory as st
        >>> with st.plot.style("neurips") as venue:
        ...     print(venue.rc["font.size"])
        ...
        9
    """

    def __init__(self, name: str) -> None:
        global _in_force
        self._before = _in_force
        _in_force = _venue(name)
        self.rc = _in_force.rc

    def __enter__(self) -> style:
        return self

    def __exit__(self, *_: object) -> None:
        global _in_force
        _in_force = self._before


def venue() -> Venue:
    """The page in force."""
    return _in_force


@contextmanager
def paper() -> Iterator[None]:
    """The style in force, inside a ``with`` block only."""
    with mpl.rc_context(_in_force.rc):  # type: ignore[arg-type]  # the stubs want literal keys
        yield


#: inches of a figure to CSS pixels in a notebook, where text of 8 points should read like the page's
PIXELS = 130


class PaperFigure(Figure):
    """A figure that pyplot does not know about and that shows itself in a notebook."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        width, height = (round(PIXELS * size) for size in self.get_size_inches())
        return render(self, "png"), {"width": width, "height": height}

    def __repr__(self) -> str:
        return "figure of {} x {} inches".format(*self.get_size_inches().round(2))


class PaperAxes(Axes):
    """Axes that show their figure in a notebook."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]] | None:
        figure = self.get_figure(root=True)
        return figure._repr_png_() if isinstance(figure, PaperFigure) else None

    def __repr__(self) -> str:
        return f"axes of a {self.get_figure(root=True)!r}"


_made_with: WeakKeyDictionary[Figure, dict[str, Any]] = WeakKeyDictionary()


def new_figure(
    width: float | None = None, height: float | None = None, layout: str = "constrained"
) -> PaperFigure:
    """An empty figure, ``width`` inches wide (by default a column), that pyplot does not know about."""
    width = _in_force.column if width is None else arguments.number("width", width, most=LARGEST)
    height = 0.68 * width if height is None else arguments.number("height", height, most=LARGEST)
    figure = PaperFigure(
        figsize=(width, height),
        layout=layout,  # type: ignore[arg-type]  # the stubs want a literal
    )
    _made_with[figure] = _in_force.rc
    return figure


def axes_or_none(ax: Any) -> Axes | None:
    """Axes to draw on, or None for a figure of their own.

    Raises:
        InputError: something else.
    """
    if ax is not None and not isinstance(ax, Axes):
        raise InputError(f"ax must be axes of matplotlib, or None, got {arguments.described(ax)}")
    return ax


def new_axes(width: float | None = None, height: float | None = None) -> Axes:
    """The only axes of a new figure."""
    return new_figure(width, height).add_subplot(axes_class=PaperAxes)


_METADATA: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
    "png": {"Software": None},
}
_DESCRIPTION = {"pdf": "Subject", "svg": "Description", "png": "Description"}


def render(figure: Figure, form: str, description: str | None = None) -> bytes:
    """A figure as "pdf", "svg" or "png" (200 dpi); equal figures give equal bytes.

    Args:
        description: kept in the file's metadata.
    """
    buffer = BytesIO()
    metadata = dict(_METADATA[form])
    if description is not None:
        metadata[_DESCRIPTION[form]] = description
    with mpl.rc_context(_made_with.get(figure, _in_force.rc)):  # type: ignore[arg-type]  # literal keys
        figure.savefig(buffer, format=form, metadata=metadata)
    return buffer.getvalue()


def save(figure: Figure | Axes, path: str | Path, description: str | None = None) -> Path:
    """Write a figure as PDF, SVG or PNG, by the suffix; equal figures give equal files.

    Args:
        figure: a figure, or axes of it.
        path: of the file, ending in .pdf, .svg or .png.
        description: kept in the file's metadata.

    Returns:
        the path.

    Raises:
        InputError: another suffix, or a file that cannot be written.

    Example:
        >>> import tempfile
        >>> import spannorm_theory as st
        >>> ax = st.plot.block_diagram("pre-norm")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     st.plot.save(ax, f"{folder}/block.svg").name
        ...
        'block.svg'
    """
    path = arguments.path("path", path)
    found = figure.get_figure(root=True) if isinstance(figure, Axes) else figure
    if not isinstance(found, Figure):
        raise InputError(f"expected a figure, or its axes, got {arguments.described(figure)}")
    if not isinstance(description, (str, type(None))):
        raise InputError(f"description must be text, got {arguments.described(description)}")
    if path.suffix[1:] not in _METADATA:
        raise InputError(f"figures are saved as .pdf, .svg or .png, got {path.name!r}")
    return write_file(path, render(found, path.suffix[1:], description))
