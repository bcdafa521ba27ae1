"""The caption of a figure: what its marks are, at which sizes, and what a gradient is measured in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..base import arguments
from ..base.quantities import QUANTITIES, SPECTRAL
from ..spec.architecture import Architecture
from ..spec.arguments import architecture
from .curves import Tables, curves, join, listed, view

#: quantities that are gradients, or squares of them
GRADIENTS = ("grad_variance", "weight_grad_norm", "global_grad_norm")

#: different numbers that are all named, at most
SHOWN = 4

#: by the loss of an architecture, what a gradient is measured in
UNITS = {
    "probe": "Gradients are for a gradient of unit second moment per coordinate at the model's output.",
    "mean": "Gradients are for a loss of the mean token, with unit second moment at the model's output.",
    "last": "Gradients are for a loss of the last token, with unit second moment at the model's output, "
    "averaged over tokens.",
    "cross-entropy": "Gradients are those of a sequence's mean cross-entropy.",
}

SPECTRA_END = (
    "The theory of spectra ends where covariances differ so much between pairs of tokens that its next order "
    "in n (V - 1/d) is no longer small."
)
END = "A theory that ends in mid-panel (|) is declined beyond, where what it leaves out is no longer small."


@dataclass(frozen=True)
class Words:
    """What a kind of figure says of itself.

    Attributes:
        sentence: what it shows.
        quantities: those that it draws where none are named.
        marks: whether its lines and points are those of a depth profile.
    """

    sentence: str
    quantities: tuple[str, ...] = ()
    marks: bool = True


#: by figure function
FIGURES = {
    "comparison": Words("Each panel has a value axis of its own."),
    "depth_profile": Words(""),
    "weight_gradients": Words(
        "Squared Frobenius norm of each weight matrix's gradient, each panel with a value axis of its own.",
        ("weight_grad_norm",),
    ),
    "residuals": Words(
        "Residuals z = (Monte Carlo - theory) / SE. In each row layers go from the input (top) to the output "
        "(bottom); bar: their mean; band: 19 of 20 residuals of a correct theory; ring: beyond the k SE of "
        "the verification (dashed, where in sight) by no more than the width allows; cross: fails.",
        marks=False,
    ),
    "spectrum": Words(
        "Singular values of the matrix of all tokens over its Frobenius norm, in falling order.",
        ("effective_rank",),
    ),
    "position_profile": Words("Second moments against the position of a token."),
    "finite_width": Words(
        "Monte Carlo over theory. Full points: means over networks, which the theory predicts; hollow: "
        "geometric means, a typical network; lines: exp(-V/2), with the variance V of the logarithm over "
        "networks that the width implies for one token; tokens that are not aligned average part of it away. "
        "Points of one L/d are moved apart. Bars: log-normal 95% intervals.",
        ("grad_variance",),
        marks=False,
    ),
    "against_law": Words(
        "Left: with the law of large depth (dotted), which goes through the theory's deepest point; right: "
        "divided by it, flat where its shape holds.",
    ),
}


def caption(
    tables: Tables, quantities: Sequence[str] | str | None = None, *, figure: str = "depth_profile"
) -> str:
    """Sentences for under a figure: what it shows, marks, depth, width, tokens, networks, L/d, and what
    gradients are measured in.

        st.plot.caption(st.verify("span-norm unit depth=12", networks=16), "grad_variance")

    Args:
        tables: what the figure was drawn from.
        quantities: those that are drawn, or "rank_collapse"; by default those of the kind of figure, or all.
        figure: the function that draws it.

    Returns:
        sentences.

    Raises:
        InputError: nothing to draw, or an unknown quantity or figure.

    Example:
        >>> import spannorm_theory as st
        >>> st.plot.caption("pre-norm unit depth=2 width=64 heads=2 tokens=8", "variance").split(". ")[0]
        'Forward variance $q$'
    """
    words = FIGURES[arguments.choice("figure with a caption", figure, FIGURES)]
    parts, joined = listed(tables), join(tables)
    asked = [] if quantities is None else arguments.names("quantities", quantities)
    names = [view(name).quantity for name in (asked or words.quantities)]
    drawn = joined[joined["quantity"].isin(names)] if names else joined
    sentences = [_sentence("; ".join(view(name).label for name in asked))] if asked else []
    sentences += [words.sentence] if words.sentence else []
    sentences += [marks(drawn)] if words.marks else [_networks(drawn)]
    sentences.append(sizes(joined))
    if set(drawn["quantity"]) & set(GRADIENTS):
        sentences.append(unit_of_gradients(parts))
    return " ".join([*sentences, *(_ends(drawn) if words.marks else [])])


def marks(rows: pd.DataFrame) -> str:
    """What lines, points and bars are, of a joined table."""
    theory = bool(rows["theory"].notna().any() or rows["log_theory"].notna().any())
    if not rows["estimate"].notna().any():
        return "Lines: theory."
    counts = _counts(rows)
    logarithmic = any(QUANTITIES[name].logarithmic for name in set(rows["quantity"]))
    law = "; of the logarithm for second moments and squared norms" if logarithmic else ""
    points = f"oints: means over N = {counts} random networks, with 95% intervals (Student's{law})."
    return f"Lines: theory; p{points}" if theory else f"P{points}"


def _networks(rows: pd.DataFrame) -> str:
    return f"N = {_counts(rows)} random networks each."


def _counts(rows: pd.DataFrame) -> str:
    return _range(rows.loc[rows["networks"] > 0, "networks"])


def sizes(rows: pd.DataFrame) -> str:
    """Depth, width, tokens of the architectures in a table; and L/d, of those measured if any were."""
    measured = rows[rows["networks"] > 0]
    some = rows if measured.empty else measured
    ratio = some["depth"] / some["width"]
    span = f"{ratio.min():.2g}" + (f" to {ratio.max():.2g}" if ratio.max() > ratio.min() else "")
    return (
        f"Depth L = {_range(rows['depth'])} blocks, width d = {_range(rows['width'])}, "
        f"n = {_range(rows['tokens'])} tokens; L/d = {span}."
    )


def unit_of_gradients(parts: Iterable[Any]) -> str:
    """What gradients are measured in; a bare table, which does not say its loss, counts as the default."""
    losses = dict.fromkeys(_loss(part) for part in parts)
    return " ".join(UNITS[loss] for loss in losses)


def _loss(part: Any) -> str:
    if isinstance(part, str):
        return architecture(part).loss
    arch = part if isinstance(part, Architecture) else getattr(part, "arch", None)
    return arch.loss if isinstance(arch, Architecture) else "probe"


def _ends(rows: pd.DataFrame) -> list[str]:
    """Why theory stops, where it does."""
    found: set[str] = set()
    if "position" in rows:
        return []
    for name in dict.fromkeys(rows["quantity"]):
        if any(curve.stop is not None for curve in curves(rows, view(name), "all")):
            found.add(SPECTRA_END if name in SPECTRAL else END)
    return sorted(found)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _range(values: pd.Series) -> str:
    """Numbers that differ, in words."""
    known = [f"{value:g}" for value in np.unique(values.to_numpy())]
    if len(known) > SHOWN:
        return f"{known[0]} to {known[-1]}"
    return known[0] if len(known) == 1 else f"{', '.join(known[:-1])} and {known[-1]}"
