"""The kinds of figures, each drawn from its recipe, with its caption."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...base.errors import InputError, UnknownNameError
from ...placement_pages.cells import Cell, compute
from ...plot import (
    block_diagram,
    branch_map,
    caption,
    comparison,
    finite_width,
    panels,
    residuals,
    spectrum,
    style,
    weight_gradients,
)
from ...plot.canvas.marks import placement_title
from ...spec.architecture import Architecture
from ...verification.outcome import Verification
from ...verification.spectra import spectra
from .first_steps import coordinate_figure, learning_figure
from .laws import law_figure
from .overview import overview_figure
from .positions import positions_figure
from .recipe import Recipe


@dataclass(frozen=True)
class Drawing:
    """A figure and the words that go under it."""

    figure: Figure
    caption: str


class Results:
    """Verifications by architecture, computed when first asked for and kept; ``progress`` says whether what
    takes longer than two seconds shows a bar."""

    def __init__(self, progress: bool = False) -> None:
        self.progress = progress
        self._cells: dict[tuple[Architecture, int, int], Cell] = {}

    def cells(self, recipe: Recipe) -> list[Cell]:
        """The cell of each architecture of a recipe, without those that the theory does not cover.

        Raises:
            InputError: none is left.
        """
        found = []
        for arch in recipe.architectures:
            key = arch, recipe.networks, recipe.seed
            if key not in self._cells:
                (self._cells[key],) = compute([arch], recipe.networks, recipe.seed, self.progress)
            if not self._cells[key].table.empty:
                found.append(self._cells[key])
        if not found:
            raise InputError(f"the theory covers no architecture of the figure {recipe.name}")
        return found

    def tables(self, recipe: Recipe) -> list[pd.DataFrame]:
        """Their tables."""
        return [cell.table for cell in self.cells(recipe)]

    def verifications(self, recipe: Recipe) -> list[Verification]:
        """Their verifications, of those that could be simulated."""
        return [cell.verification for cell in self.cells(recipe) if cell.verification is not None]


def _comparison(recipe: Recipe, results: Results) -> Drawing:
    tables = results.tables(recipe)
    words = caption(tables, recipe.options["quantities"], figure="comparison")
    return Drawing(comparison(tables, **recipe.options), words)


def _weight_gradients(recipe: Recipe, results: Results) -> Drawing:
    tables = results.tables(recipe)
    return Drawing(weight_gradients(tables, **recipe.options), caption(tables, figure="weight_gradients"))


def _block(recipe: Recipe, results: Results) -> Drawing:
    (arch,) = recipe.architectures
    axes = block_diagram(arch.placement, scaling=arch.scaling, **recipe.options)
    words = f"A block of {placement_title(arch.placement)} under the scaling rule {arch.scaling}."
    return Drawing(_figure(axes), words)


def _residuals(recipe: Recipe, results: Results) -> Drawing:
    found = results.verifications(recipe)
    return Drawing(_figure(residuals(found, **recipe.options)), caption(found, figure="residuals"))


def _spectra(recipe: Recipe, results: Results) -> Drawing:
    def draw(arch: Architecture, ax: Axes) -> None:
        table = spectra(arch, networks=recipe.networks, seed=recipe.seed)
        spectrum(table, ax=ax, names=False)

    drawings = {placement_title(arch.placement): partial(draw, arch) for arch in recipe.architectures}
    words = caption(results.tables(recipe), figure="spectrum")
    return Drawing(panels(drawings, share="x", **recipe.options), words)


def _overview(recipe: Recipe, results: Results) -> Drawing:
    found = results.verifications(recipe)
    first = found[recipe.options.get("first", 0)].arch
    title = placement_title(first.placement)
    words = (
        f"(a) A block of {title}. (b) Gradient and (c) rank collapse against depth. (d) Singular values and "
        f"(e) residuals z = (Monte Carlo - theory) / SE of {title}: in each row from the input (top) to the "
        "output, with their mean (bar); 19 of 20 of a correct theory lie in the band. "
    )
    words += caption(found, ["grad_variance", "rank_collapse"])
    return Drawing(overview_figure(found, **recipe.options), words)


def _finite_width(recipe: Recipe, results: Results) -> Drawing:
    found = results.verifications(recipe)
    words = caption(found, recipe.options.get("quantity"), figure="finite_width")
    return Drawing(_figure(finite_width(found, **recipe.options)), words)


def _laws(recipe: Recipe, results: Results) -> Drawing:
    return Drawing(*law_figure(results.tables(recipe), recipe.architectures, **recipe.options))


def _positions(recipe: Recipe, results: Results) -> Drawing:
    drawn = recipe.architectures, recipe.networks, recipe.seed
    return Drawing(*positions_figure(*drawn, results.progress, **recipe.options))


def _learning_share(recipe: Recipe, results: Results) -> Drawing:
    return Drawing(*learning_figure(recipe.architectures, recipe.networks, recipe.seed, **recipe.options))


def _coordinate_check(recipe: Recipe, results: Results) -> Drawing:
    return Drawing(*coordinate_figure(recipe.architectures, recipe.networks, recipe.seed, **recipe.options))


def _branch_map(recipe: Recipe, results: Results) -> Drawing:
    (arch,) = recipe.architectures
    words = (
        f"Theory of {placement_title(arch.placement)}, scaling {arch.scaling}, over depth and a factor on "
        f"every branch; width d = {arch.width}, n = {arch.tokens} tokens."
    )
    return Drawing(_figure(branch_map(arch, progress=results.progress, **recipe.options)), words)


def _figure(axes: Any) -> Figure:
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure)
    return figure


KINDS: dict[str, Callable[[Recipe, Results], Drawing]] = {
    "overview": _overview,
    "comparison": _comparison,
    "weight-gradients": _weight_gradients,
    "block": _block,
    "residuals": _residuals,
    "spectra": _spectra,
    "finite-width": _finite_width,
    "laws": _laws,
    "positions": _positions,
    "branch-map": _branch_map,
    "learning-share": _learning_share,
    "coordinate-check": _coordinate_check,
}


def make(recipe: Recipe, results: Results | None = None) -> Drawing:
    """The figure of a recipe, and its caption.

    Raises:
        UnknownNameError: a kind or style that does not exist.
    """
    if recipe.kind not in KINDS:
        raise UnknownNameError("kind of figure", recipe.kind, KINDS)
    with style(recipe.style):
        return KINDS[recipe.kind](recipe, results or Results())
