"""The kinds of figures, each drawn from its recipe."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...base.errors import InputError, UnknownNameError
from ...placement_pages.cells import Cell, compute
from ...plot import block_diagram, comparison, panels, residuals, spectrum, style, weight_gradients
from ...plot.canvas.marks import placement_title
from ...spec.architecture import Architecture
from ...verification.spectra import spectra
from .overview import overview_figure
from .recipe import Recipe


class Results:
    """Verifications by architecture, computed when first asked for and kept."""

    def __init__(self) -> None:
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
                (self._cells[key],) = compute([arch], recipe.networks, recipe.seed)
            if not self._cells[key].table.empty:
                found.append(self._cells[key])
        if not found:
            raise InputError(f"the theory covers no architecture of the figure {recipe.name}")
        return found

    def tables(self, recipe: Recipe) -> list[pd.DataFrame]:
        """Their tables."""
        return [cell.table for cell in self.cells(recipe)]


def _comparison(recipe: Recipe, results: Results) -> Figure:
    return comparison(results.tables(recipe), **recipe.options)


def _weight_gradients(recipe: Recipe, results: Results) -> Figure:
    return weight_gradients(results.tables(recipe), **recipe.options)


def _block(recipe: Recipe, results: Results) -> Figure:
    (arch,) = recipe.architectures
    figure = block_diagram(arch.placement, scaling=arch.scaling, **recipe.options).get_figure(root=True)
    assert figure is not None
    return figure


def _residuals(recipe: Recipe, results: Results) -> Figure:
    found = [cell.verification for cell in results.cells(recipe) if cell.verification is not None]
    figure = residuals(found, **recipe.options).get_figure(root=True)
    assert figure is not None
    return figure


def _spectra(recipe: Recipe, results: Results) -> Figure:
    def draw(arch: Architecture, ax: Axes) -> None:
        table = spectra(arch, networks=recipe.networks, seed=recipe.seed)
        spectrum(table, ax=ax, names=False)

    drawings = {placement_title(arch.placement): partial(draw, arch) for arch in recipe.architectures}
    return panels(drawings, share="xy", **recipe.options)


def _overview(recipe: Recipe, results: Results) -> Figure:
    found = [cell.verification for cell in results.cells(recipe) if cell.verification is not None]
    return overview_figure(found, **recipe.options)


KINDS: dict[str, Callable[[Recipe, Results], Figure]] = {
    "overview": _overview,
    "comparison": _comparison,
    "weight-gradients": _weight_gradients,
    "block": _block,
    "residuals": _residuals,
    "spectra": _spectra,
}


def make(recipe: Recipe, results: Results | None = None) -> Figure:
    """The figure of a recipe.

    Raises:
        UnknownNameError: a kind or style that does not exist.
    """
    if recipe.kind not in KINDS:
        raise UnknownNameError("kind of figure", recipe.kind, KINDS)
    with style(recipe.style):
        return KINDS[recipe.kind](recipe, results or Results())
