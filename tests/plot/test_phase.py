"""Phase diagrams draw the table's numbers, theory and Monte Carlo on one scale."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh

from spannorm_theory.base.errors import InputError, UnknownNameError
from spannorm_theory.plot import phase_diagram
from spannorm_theory.plot.canvas.paper import COLUMN, new_figure

XS, YS = [2, 4, 8, 16], [0.25, 0.5, 1.0]


def plane(ys: list = YS, slope: float = 1.0) -> pd.DataFrame:
    rows = [
        (x, y, slope * np.log(x) * (1 + i), slope * np.log(x) * (1 + i) + 0.01)
        for x in XS
        for i, y in enumerate(ys)
    ]
    return pd.DataFrame(rows, columns=["depth", "scale", "theory", "estimate"])


def mesh(ax: Axes, gid: str) -> QuadMesh:
    (found,) = [c for c in ax.collections if isinstance(c, QuadMesh) and c.get_gid() == gid]
    return found


@pytest.mark.exact
def test_the_heat_map_holds_the_estimates() -> None:
    table = plane().sample(frac=1, random_state=0)  # rows in any order
    _, right = phase_diagram(table, "depth", "scale", "token_cosine")
    expected = plane().pivot_table(index="scale", columns="depth", values="estimate").to_numpy()
    np.testing.assert_allclose(np.asarray(mesh(right, "estimate").get_array()), expected, rtol=1e-12)


@pytest.mark.exact
def test_logarithms_are_shown_as_powers_of_ten() -> None:
    _, right = phase_diagram(plane(), "depth", "scale", "grad_variance")
    expected = plane().pivot_table(index="scale", columns="depth", values="estimate").to_numpy() / np.log(10)
    np.testing.assert_allclose(np.asarray(mesh(right, "estimate").get_array()), expected, rtol=1e-12)


def test_contours_of_theory_lie_on_both_panels() -> None:
    left, right = phase_diagram(plane(), "depth", "scale", "token_cosine")
    found = [[c for c in ax.collections if c.get_gid() == "contours"] for ax in (left, right)]
    levels = [np.asarray(panel[0].levels) for panel in found]
    np.testing.assert_array_equal(*levels)
    assert len(levels[0]) > 3
    assert left.get_ylim() == right.get_ylim() == (0, 3)


def test_placements_have_no_contours_and_keep_their_order() -> None:
    names = ["span-norm", "post-norm"]
    left, right = phase_diagram(plane(names), "depth", "scale", "token_cosine")
    assert [label.get_text() for label in left.get_yticklabels()] == ["SpanNorm", "PostNorm"]
    assert mesh(left, "theory").norm is mesh(right, "estimate").norm
    assert not [c for c in left.collections if c.get_gid() == "contours"]


def test_signs_diverge_around_zero() -> None:
    table = plane()
    table.loc[0, "estimate"] = -3.0
    _, right = phase_diagram(table, "depth", "scale", "token_cosine")
    assert mesh(right, "estimate").norm(0.0) == 0.5


@pytest.mark.parametrize("value", [0.3, np.nan])
def test_a_flat_or_unknown_theory_is_drawn(value: float) -> None:
    left, _ = phase_diagram(plane().assign(theory=value), "depth", "scale", "token_cosine")
    left.figure.draw_without_rendering()
    assert mesh(left, "theory")


def test_it_draws_on_given_axes_and_leaves_globals_alone() -> None:
    before = dict(mpl.rcParams)
    figure = new_figure()
    axes = figure.subplots(1, 2)
    assert phase_diagram(plane(), "depth", "scale", "token_cosine", ax=axes) == tuple(axes)
    assert dict(mpl.rcParams) == before
    left, _ = phase_diagram(plane(), "depth", "scale", "token_cosine", title="t")
    assert left.figure.get_figwidth() == COLUMN


def test_tables_that_are_no_plane() -> None:
    with pytest.raises(InputError, match="no column 'width'"):
        phase_diagram(plane(), "width", "scale", "token_cosine")
    with pytest.raises(InputError, match="4 x 3 points, got 11 rows"):
        phase_diagram(plane()[1:], "depth", "scale", "token_cosine")
    with pytest.raises(UnknownNameError, match="did you mean token_cosine"):
        phase_diagram(plane(), "depth", "scale", "token_cosin")
    with pytest.raises(InputError, match="needs two axes"):
        phase_diagram(plane(), "depth", "scale", "token_cosine", ax=[new_figure().add_subplot()])
    with pytest.raises(InputError, match="nothing to draw"):
        phase_diagram(plane().assign(theory=np.nan, estimate=np.nan), "depth", "scale", "token_cosine")
