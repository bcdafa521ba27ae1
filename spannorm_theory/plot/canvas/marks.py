"""One look for every figure: a colour, marker and dash for each placement.

Colours keep apart under the common colour-vision deficiencies; a marker and a dash go with each, so that
no curve is told by colour alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

from matplotlib.colors import to_rgb

from ...spec.architecture import parse_placement
from ...spec.arguments import placement as named
from ...spec.placements import PLACEMENTS
from .paper import venue

Dash = tuple[float, tuple[float, ...]] | str
Marker = str | tuple[int, int, int]


@dataclass(frozen=True)
class Style:
    """The look of one curve.

    Attributes:
        colour, marker, dash: of the theory's line and the Monte Carlo points.
        second_dash, second_marker: of the second stream.
        hollow: markers are drawn as outlines.
        order: where in the cycle of marked layers its markers start, so that coinciding curves show
            their markers side by side.
    """

    colour: str
    marker: Marker
    dash: Dash
    second_dash: Dash = (0, (1.6, 1.4))
    second_marker: Marker = "*"
    hollow: bool = False
    order: int = 0

    def of_stream(self, stream: str) -> Style:
        """The style of a stream: the first as given, any other with the second dash and marker."""
        if stream == "1":
            return replace(self, dash=self.second_dash, marker=self.second_marker, order=self.order + 4)
        return self

    def of_depth(self, index: int, count: int) -> Style:
        """The style of the ``index``-th of ``count`` depths: the deepest as given, others paler, each with a
        dash of its own."""
        if index == count - 1:
            return self
        pale = 0.65 * (1 - index / (count - 1))
        channels = (round(255 * (c + pale * (1 - c))) for c in to_rgb(self.colour))
        dash = _SPARE_DASHES[(index + 1) % len(_SPARE_DASHES)]
        return replace(
            self, colour="#{:02x}{:02x}{:02x}".format(*channels), dash=dash, order=self.order + index
        )

    @property
    def line(self) -> dict[str, Any]:
        """Keywords of a line without markers."""
        return {"color": self.colour, "linestyle": self.dash, "linewidth": 1.1 * venue().scale}

    @property
    def points(self) -> dict[str, Any]:
        """Keywords of markers without a line."""
        scale = venue().scale
        size = (5.0 if self.marker == "*" or isinstance(self.marker, tuple) else 3.4) * scale
        face = "white" if self.hollow else self.colour
        thin = self.marker in ("x", "+")
        return {
            "color": self.colour,
            "linestyle": "none",
            "marker": self.marker,
            "markersize": size,
            "markerfacecolor": face,
            "markeredgewidth": (0.8 if self.hollow or thin else 0.3) * scale,
            "markeredgecolor": self.colour if self.hollow or thin else "white",
        }


_PLACEMENTS: dict[str, Style] = {
    "no-norm": Style("#6b6b6b", "x", (0, (1, 1.3)), order=0),
    "pre-norm": Style("#0072b2", "o", (0, (7, 1.6)), order=1),
    "post-norm": Style("#d55e00", "s", (0, (4, 1.6)), order=2),
    "span-norm": Style("#00805e", "^", "-", order=3),
    "hybrid-norm": Style("#7b3fa0", "D", (0, (6, 1.4, 1, 1.4)), order=4),
    "hybrid-norm-star": Style("#d6659d", "P", (0, (4, 1.2, 1, 1.2, 1, 1.2)), order=5),
    "siamese-norm": Style("#d99400", "v", "-", second_marker="*", order=6),
    "siamese-norm-hybrid-pre": Style("#4aa3df", "<", "-", second_marker="X", order=7),
}

#: placements beside those, in an order that never changes: each has a pair of spare colour and marker
_OTHERS = (
    "sandwich",
    "peri-ln",
    "output-norm",
    "olmo2",
    "swin-v2",
    "parallel-pre",
    "parallel-post",
    "parallel-peri",
    "deepnorm",
    "admin",
    "keel",
    "b2t",
    "ngpt",
    "ln-scaling",
    "gpas",
    "mix-ln",
    "sub-ln",
    "normformer",
    "residual",
    "siamese-norm-post-pre",
    "hyper-connections",
    "dyt",
    "derf",
    "shifted-post-norm",
    "gated-post-norm",
    "residual-gate",
    "gated-streams",
    "gemma-4",
    "depth-scaled-sandwich",
    "olmo-hybrid",
    "norm-preserving",
    "embedding-mixing",
    "attention-residuals",
    "denseformer",
    "mhc",
    "identity-hyper-connections",
    "inkling-2",
)
_SPARE_COLOURS = ("#8c2d04", "#3b4cc0", "#5a7d1f", "#99004c", "#006d77", "#4d3b2f")
_SPARE_MARKERS = ("h", "d", ">", "p", "8", "H", "X")
_SPARE_DASHES: tuple[Dash, ...] = ("-", (0, (5, 1.5)), (0, (2.5, 1.2)), (0, (5, 1.2, 1.2, 1.2)))


#: of placements that are not the toolkit's own: colours, markers and dashes that none of the toolkit's has;
#: their numbers have no common factor, so that they make 15 pairs
_OWN_COLOURS = ("#000000", "#0000ff", "#c08a4e")
_OWN_MARKERS: tuple[Marker, ...] = ((4, 1, 0), (3, 1, 0), (6, 1, 0), (5, 1, 180), (3, 1, 180))
_OWN_DASHES: tuple[Dash, ...] = ((0, (3, 1)), "-", (0, (8, 1.2, 1, 1.2)), (0, (1, 0.8)))

#: placements of the user's, in the order in which they were registered or first drawn
_own: list[str] = []


def placement_style(placement: str) -> Style:
    """The look of a placement, the same in every figure.

    A placement of the user's own gets a colour and a marker that none of the toolkit's has, in the order
    in which they are registered. Options keep the colour of the placement and change marker and dash, with
    hollow markers.

    Args:
        placement: a registered name, with options in brackets if it has any.

    Returns:
        ``colour``, ``marker``, ``dash`` and ``hollow``; ``line`` and ``points`` are arguments of matplotlib.

    Raises:
        UnknownNameError: a name that is not registered.

    Example:
        >>> import spannorm_theory as st
        >>> st.plot.placement_style("pre-norm") == st.plot.placement_style("pre-norm")
        True
    """
    name, options = parse_placement(named(placement))
    if name in _PLACEMENTS:
        known = _PLACEMENTS[name]
    elif name in _OTHERS:
        known = _spare(_OTHERS.index(name))
    else:
        known = _own_style(name)
    if not options:
        return known
    number = crc32(repr(sorted(options.items())).encode())
    marker = _SPARE_MARKERS[number % len(_SPARE_MARKERS)]
    dash = _SPARE_DASHES[1 + number // 7 % (len(_SPARE_DASHES) - 1)]
    return replace(known, marker=marker, dash=dash, hollow=True, order=known.order + 3)


def _spare(number: int) -> Style:
    """The look of the ``number``-th of the placements beside the eight."""
    return Style(
        _SPARE_COLOURS[number % len(_SPARE_COLOURS)],
        _SPARE_MARKERS[number % len(_SPARE_MARKERS)],
        _SPARE_DASHES[number // 6 % len(_SPARE_DASHES)],
        order=number % 8,
    )


def _own_style(name: str) -> Style:
    """The look of a placement of the user's own."""
    registered = [one for one in PLACEMENTS if one not in _PLACEMENTS and one not in _OTHERS]
    _own.extend(one for one in dict.fromkeys([*registered, name]) if one not in _own)
    return own_look(_own.index(name))


def own_look(number: int) -> Style:
    """The look of the ``number``-th placement of the user's own."""
    return Style(
        _OWN_COLOURS[number % len(_OWN_COLOURS)],
        _OWN_MARKERS[number % len(_OWN_MARKERS)],
        _OWN_DASHES[number % len(_OWN_DASHES)],
        order=number % 8,
    )


def placement_title(placement: str) -> str:
    """The name of a placement in figures: its registered title, with its options behind it."""
    name, options = parse_placement(placement)
    title = PLACEMENTS[name].title if name in PLACEMENTS else name
    changed = ", ".join(f"{key.replace('_', ' ')}={value}" for key, value in sorted(options.items()))
    return f"{title} ({changed})" if changed else title


def placement_label(placement: str) -> str:
    """:func:`placement_title` as text of a figure, where a title's dollars begin no formula."""
    return placement_title(placement).replace("$", r"\$")


_LAYER_SHADES = ("#35b6c9", "#2b7bba", "#2d4a9e", "#3b1f6b", "#150b25")
_LAYER_MARKERS = ("o", "s", "^", "D", "v")


def layer_style(index: int, count: int) -> Style:
    """The look of the ``index``-th of ``count`` layers: darker, with another marker and dash, the deeper."""
    shade = _LAYER_SHADES[round(index * (len(_LAYER_SHADES) - 1) / max(1, count - 1))]
    marker = _LAYER_MARKERS[index % len(_LAYER_MARKERS)]
    return Style(shade, marker, _SPARE_DASHES[index % len(_SPARE_DASHES)], order=index)


def sequence_style(index: int) -> Style:
    """The look of the ``index``-th of several curves that are not told apart by placement."""
    base = list(_PLACEMENTS.values())[1 + index % (len(_PLACEMENTS) - 1)]
    return replace(base, dash=_SPARE_DASHES[index % len(_SPARE_DASHES)], order=index)
