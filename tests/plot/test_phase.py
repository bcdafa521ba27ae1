"""Phase diagrams draw the table's numbers, theory and Monte Carlo on one scale."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh

from spannorm_theory.base.errors import InputError, UnknownNameError
from spannorm_theory.plot import branch_map, phase_diagram
from spannorm_theory.plot.canvas.paper import COLUMN, new_figure
from spannorm_theory.plot.plane import branch_plane
from spannorm_theory.prediction.predict import predict
from spannorm_theory.spec.architecture import Architecture
from spannorm_theory.spec.scalings import SCALINGS

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
def test_both_heat_maps_hold_the_numbers_of_the_table() -> None:
    table = plane().sample(frac=1, random_state=0)  # rows in any order
    axes = phase_diagram(table, "depth", "scale", "token_cosine")
    for ax, name in zip(axes, ("theory", "estimate"), strict=True):
        expected = plane().pivot_table(index="scale", columns="depth", values=name).to_numpy()
        np.testing.assert_allclose(np.asarray(mesh(ax, name).get_array()), expected, rtol=1e-12)


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
    texts = [text.get_position() for text in left.texts]
    assert texts
    assert all(0.25 < x < 3.75 and 0.2 < y < 2.8 for x, y in texts)  # none that the edge would cut
    assert left.get_ylim() == right.get_ylim() == (0, 3)


@pytest.mark.exact
def test_contours_of_finer_theory_pass_where_it_has_their_level() -> None:
    """Theory log2(x) + 4 y over cells at 2, 4, 8, 16: between cells, contours follow the theory."""
    xs, ys = np.geomspace(1.5, 24, 41), np.linspace(0.2, 1.3, 23)
    finer = pd.DataFrame([(x, y, np.log2(x)) for x in xs for y in ys], columns=["depth", "scale", "theory"])
    for ax in phase_diagram(plane(), "depth", "scale", "token_cosine", finer=finer):
        assert ax.get_xlim() == (0, 4)
        (lines,) = [c for c in ax.collections if c.get_gid() == "contours"]
        for level, path in zip(lines.levels, lines.get_paths(), strict=True):
            if len(path.vertices):  # log2 of 2, 4, ... is at 0.5, 1.5, ...
                np.testing.assert_allclose(path.vertices[:, 0], level - 0.5, atol=1e-9)


@pytest.mark.exact
def test_a_map_of_any_placement_holds_the_theory_of_stacks_with_scaled_branches() -> None:
    ax = branch_map("post-norm unit width=64 heads=4 tokens=8", depths=(2, 8), scales=(0.5, 2.0), points=3)
    (found,) = [c for c in ax.collections if isinstance(c, QuadMesh)]
    assert (ax.get_xlim(), ax.get_ylim()) == ((2, 8), (0.5, 2))
    assert ax.get_title() == "PostNorm, unit, $n=8$"
    assert ax.figure.axes[1].get_ylabel().endswith("at the top")
    table = predict(Architecture("post-norm", depth=8, width=64, heads=4, tokens=8))
    rows = table[(table["quantity"] == "token_cosine") & (table["stream"] == "0")].set_index("layer")
    values = np.asarray(found.get_array()).reshape(3, 3)
    np.testing.assert_allclose(values[1], rows["value"][[2, 4, 8]], rtol=1e-12)  # at scale 1
    assert (np.diff(values, axis=0) > 0).all()


@pytest.mark.exact
def test_gradients_of_a_map_are_those_at_the_embedding_and_rules_are_kept() -> None:
    names = set(SCALINGS)
    arch = Architecture("pre-norm", "gpt2", width=64, heads=4, tokens=8)
    plane = branch_plane(arch, [4], [1.0, 2.0], "grad_variance")
    table = predict(arch.with_(depth=4)).query("quantity == 'grad_variance' and layer == 0")
    assert plane["theory"][0] == pytest.approx(float(table["log_value"].iloc[0]), rel=1e-12)
    assert plane["theory"][1] > plane["theory"][0]
    assert set(SCALINGS) == names
    with pytest.raises(InputError, match="the number of depths"):
        branch_map(arch, depths=(2, 4, 8))


@pytest.mark.exact
def test_a_map_of_a_matrix_and_one_under_a_mask() -> None:
    arch = Architecture("pre-norm", width=64, heads=2, tokens=16, mask="causal", depth=4)
    plane = branch_plane(arch, [4], [1.0], "weight_grad_norm", "ffn.up")
    rows = predict(arch, theory="positions").query("quantity == 'weight_grad_norm' and stream == 'ffn.up'")
    assert plane["theory"][0] == pytest.approx(
        float(rows["log_value"].iloc[0]), rel=1e-12
    )  # of the first block
    with pytest.raises(InputError, match=r"say which by stream=, one of attn.query, attn.key"):
        branch_plane(arch, [4], [1.0], "weight_grad_norm")
    with pytest.raises(InputError, match=r"did you mean ffn.up"):
        branch_plane(arch, [4], [1.0], "weight_grad_norm", "ffn.upp")
    with pytest.raises(InputError, match=r"the theory has no loss of this architecture; it has variance"):
        branch_map(arch, "loss", depths=(2, 3), points=2)


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
