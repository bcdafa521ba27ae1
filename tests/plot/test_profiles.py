"""What depth profiles draw: the tables' own numbers, on the right axes, the same way every time."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from scipy import stats

from spannorm_theory.base.errors import InputError
from spannorm_theory.base.quantities import tidy
from spannorm_theory.montecarlo.ensemble import simulate
from spannorm_theory.plot import caption, comparison, depth_profile, rank_collapse, weight_gradients
from spannorm_theory.plot.canvas.names import spread
from spannorm_theory.plot.canvas.series import ENDS, MEASURED
from spannorm_theory.plot.curves import curves, join, view
from spannorm_theory.prediction.predict import predict
from spannorm_theory.spec.architecture import Architecture
from spannorm_theory.verification.verification import verify

SMALL = {"depth": 4, "width": 32, "heads": 4, "tokens": 8}
Tables = dict[str, pd.DataFrame]


@pytest.fixture(scope="module")
def verified() -> Tables:
    names = ("pre-norm", "span-norm", "siamese-norm")
    return {n: verify(Architecture(n, **SMALL), networks=4, progress=False).table for n in names}


def lines(ax: Axes, gid: str) -> list[np.ndarray]:
    return [np.asarray(line.get_xydata()) for line in ax.lines if line.get_gid() == gid]


def rows(table: pd.DataFrame, quantity: str, stream: str = "0") -> pd.DataFrame:
    return table[(table["quantity"] == quantity) & (table["stream"] == stream)].sort_values("layer")


@pytest.mark.exact
@pytest.mark.parametrize("quantity", ["variance", "grad_variance", "token_cosine", "branch_share"])
def test_theory_line_and_points_are_the_tables_values(verified: Tables, quantity: str) -> None:
    ax = depth_profile(verified["pre-norm"], quantity)
    found = rows(verified["pre-norm"], quantity)
    (line,), (points,) = lines(ax, "theory"), lines(ax, "monte-carlo")
    np.testing.assert_allclose(line, found[["layer", "theory"]], rtol=1e-12)
    np.testing.assert_allclose(points, found[["layer", "estimate"]], rtol=1e-12)


def bars(ax: Axes) -> np.ndarray:
    (collection,) = [c for c in ax.collections if isinstance(c, LineCollection)]
    return np.array([segment[:, 1] for segment in collection.get_segments()])


@pytest.mark.exact
def test_error_bars_hold_the_mean_with_95_per_cent(verified: Tables) -> None:
    found = rows(verified["pre-norm"], "token_cosine")
    quantile = stats.t.ppf(0.975, 3)  # of 4 networks
    drawn = bars(depth_profile(verified["pre-norm"], "token_cosine"))
    np.testing.assert_allclose(drawn[:, 1] - drawn[:, 0], 2 * quantile * found["se"], rtol=1e-9)
    np.testing.assert_allclose(drawn.mean(axis=1), found["estimate"], rtol=1e-9, atol=1e-12)


@pytest.mark.exact
def test_error_bars_on_a_log_axis_are_those_of_the_logarithm(verified: Tables) -> None:
    found = rows(verified["pre-norm"], "grad_variance")
    drawn = bars(depth_profile(verified["pre-norm"], "grad_variance"))
    half = (stats.t.ppf(0.975, 3) * found["se"] / found["estimate"]).to_numpy()
    np.testing.assert_allclose(np.log(drawn[:, 1] / drawn[:, 0]), 2 * half, rtol=1e-9)


@pytest.mark.exact
def test_bounds_are_shaded_between_low_and_high(verified: Tables) -> None:
    table = verified["pre-norm"]
    (shade,) = [c for c in depth_profile(table, "variance").collections if isinstance(c, PolyCollection)]
    corners = shade.get_paths()[0].vertices
    found = rows(table, "variance")
    for name in ("low", "high"):
        for point in found[["layer", name]].to_numpy():
            assert np.isclose(corners, point, rtol=1e-9, atol=0).all(axis=1).any()
    two = [table, verified["span-norm"]]
    for ax in (depth_profile(table, "variance", bounds=False), depth_profile(two, "variance")):
        assert not [c for c in ax.collections if isinstance(c, PolyCollection)]
    drawn = depth_profile(two, "variance", bounds=True).collections
    assert len([c for c in drawn if isinstance(c, PolyCollection)]) == 2


@pytest.mark.exact
def test_a_prediction_is_a_line_and_a_simulation_is_points(verified: Tables) -> None:
    arch = Architecture("span-norm", **SMALL)
    ax = depth_profile(predict(arch), "variance")
    assert len(lines(ax, "theory")) == 1
    assert lines(ax, "monte-carlo") == []
    table = simulate(arch, networks=3, progress=False).table
    ax = depth_profile(table, "variance")
    assert lines(ax, "theory") == []
    np.testing.assert_allclose(
        lines(ax, "monte-carlo")[0][:, 1], rows(table, "variance")["value"], rtol=1e-12
    )


def steep(log_ratio: float) -> pd.DataFrame:
    arch = Architecture("post-norm", **{**SMALL, "depth": 20})
    return tidy(arch.labels, {("0", "grad_variance"): log_ratio * np.linspace(1, 0, 21)})


@pytest.mark.exact
def test_values_beyond_float64_are_drawn_from_their_logarithms() -> None:
    table = steep(-2000 * np.log(2.0))
    assert table["value"].iloc[0] == 0
    ax = depth_profile(table, "grad_variance")
    (line,) = lines(ax, "theory")
    np.testing.assert_allclose(line[0, 1], -2000 * np.log10(2.0), rtol=1e-12)
    ax.figure.draw_without_rendering()
    assert any(label.get_text() == "$10^{-600}$" for label in ax.get_yticklabels())


@pytest.mark.exact
def test_log_axes_where_quantities_span_orders_of_magnitude(verified: Tables) -> None:
    for quantity in ("variance", "grad_variance", "rank_collapse"):
        assert depth_profile(verified["pre-norm"], quantity).get_yscale() == "log"
    for quantity in ("token_cosine", "layer_cosine"):
        assert depth_profile(verified["pre-norm"], quantity).get_yscale() == "linear"
    assert depth_profile(steep(-300), "grad_variance").get_yscale() == "log"


@pytest.mark.exact
def test_curves_of_two_kinds_of_axis_do_not_mix() -> None:
    ax = depth_profile(steep(-10), "grad_variance")
    with pytest.raises(InputError, match="log axis, and these curves need a powers one"):
        depth_profile(steep(-3000), "grad_variance", ax=ax)


@pytest.mark.exact
def test_rank_collapse_is_one_minus_the_token_cosine(verified: Tables) -> None:
    (line,) = lines(rank_collapse(verified["span-norm"]), "theory")
    np.testing.assert_allclose(
        line[:, 1], 1 - rows(verified["span-norm"], "token_cosine")["theory"], rtol=1e-12
    )


def test_streams_share_a_colour_and_differ_in_dash_and_marker(verified: Tables) -> None:
    ax = depth_profile(verified["siamese-norm"], "variance", stream="all")
    first, second = [line for line in ax.lines if line.get_gid() == "theory"]
    assert first.get_color() == second.get_color()
    assert first.get_linestyle() != second.get_linestyle()
    assert first.get_label() == "SiameseNorm, stream 0"
    assert second.get_label() == "SiameseNorm, stream 1"


def test_several_depths_share_a_relative_axis() -> None:
    tables = [predict(Architecture("pre-norm", **{**SMALL, "depth": depth})) for depth in (3, 6)]
    ax = depth_profile(tables, "variance")
    assert "l/L" in ax.get_xlabel()
    assert all(line[-1, 0] == 1 for line in lines(ax, "theory"))


def test_curves_that_could_not_be_told_apart_are_refused(verified: Tables) -> None:
    tables = [predict(Architecture("pre-norm", scaling, **SMALL)) for scaling in ("unit", "gpt2")]
    with pytest.raises(InputError, match="several values of scaling"):
        depth_profile(tables, "variance")
    assert len(lines(depth_profile(tables, "variance", per="scaling"), "theory")) == 2
    with pytest.raises(InputError, match="unknown column to tell curves apart by 'layer'; known: placement"):
        depth_profile(tables, "variance", per="layer")
    with pytest.raises(InputError, match="unknown quantity 'entropy'"):
        depth_profile(tables, "entropy")
    with pytest.raises(InputError, match="unknown stream of variance '7'; known: 0, all"):
        depth_profile(tables[0], "variance", stream="7")


def test_figures_take_what_simulate_and_verify_return() -> None:
    arch = Architecture("pre-norm", **SMALL)
    ensemble = simulate(arch, networks=3, progress=False)
    own, by_table = (
        lines(depth_profile(drawn, "variance"), "monte-carlo")[0] for drawn in (ensemble, ensemble.table)
    )
    assert np.array_equal(own, by_table)
    depth_profile([verify(arch, networks=8, progress=False), predict(arch.with_(depth=4))], "variance")
    with pytest.raises(InputError, match=r"predict, simulate, verify or sweep return.*got 7"):
        depth_profile([7], "variance")
    with pytest.raises(InputError, match="no table to draw"):
        depth_profile([], "variance")


@pytest.mark.exact
def test_an_architecture_and_its_text_are_drawn_by_their_theory() -> None:
    arch = Architecture("pre-norm", **SMALL)
    expected = lines(depth_profile(predict(arch), "grad_variance"), "theory")[0]
    for given in (arch, str(arch), [arch], [str(arch)]):
        assert np.array_equal(lines(depth_profile(given, "grad_variance"), "theory")[0], expected)
    assert len(comparison(arch, "variance").axes) == len(weight_gradients(arch).axes) - 5 == 1


def test_axes_that_are_passed_in_are_used_and_globals_are_left_alone(verified: Tables) -> None:
    before = dict(mpl.rcParams)
    own = depth_profile(verified["pre-norm"], "variance")
    assert depth_profile(verified["span-norm"], "variance", ax=own) is own
    assert len(lines(own, "theory")) == 2
    assert dict(mpl.rcParams) == before


def test_comparison_has_a_row_for_each_quantity_and_a_column_for_each_scaling() -> None:
    names = ("pre-norm", "span-norm")
    tables = [predict(Architecture(p, s, **SMALL)) for s in ("unit", "gpt2") for p in names]
    figure = comparison(tables, ["variance", "rank_collapse", "grad_variance"], ["gpt2", "unit"])
    assert len(figure.axes) == 6
    assert [ax.get_title() for ax in figure.axes[:2]] == ["scaling: gpt2", "scaling: unit"]
    assert figure.axes[0].get_ylim() != figure.axes[1].get_ylim()
    together = comparison(tables, ["variance"], shared=True)
    assert together.axes[0].get_ylim() == together.axes[1].get_ylim()
    with pytest.raises(InputError, match="rank_collapse is 1 - token_cosine"):
        comparison(tables, ["rank_collapse", "token_cosine"])


def names(ax: Axes) -> list[str]:
    return sorted(text.get_text().replace("\n", " ") for text in ax.texts if text.get_gid() == "name")


def test_a_comparison_names_every_curve_at_the_ends_or_in_its_legend(verified: Tables) -> None:
    few = comparison(list(verified.values()), ["variance", "grad_variance"])
    curves_of = ["PreNorm", "SiameseNorm, stream 0", "SiameseNorm, stream 1", "SpanNorm"]
    assert [names(ax) for ax in few.axes] == [curves_of, curves_of]
    assert [text.get_text() for text in few.legends[0].texts] == ["theory", MEASURED]
    scalings = {"pre-norm": "gpt2", "span-norm": "unit"}  # the last column lacks a curve: none is at the ends
    figure = comparison([Architecture(p, s, **SMALL) for p, s in scalings.items()], ["variance"])
    assert [names(ax) for ax in figure.axes] == [[], []]
    assert [text.get_text() for text in figure.legends[0].texts] == ["PreNorm", "SpanNorm", "theory"]


@pytest.mark.exact
def test_names_move_as_little_as_keeps_them_apart_and_inside() -> None:
    wanted, heights = np.array([0.5, 0.5, 0.52, 0.99, 0.1]), np.full(5, 0.1)
    places = spread(wanted, heights)
    assert (np.diff(np.sort(places)) >= 0.1 - 1e-12).all()
    np.testing.assert_allclose(places[[3, 4]], [0.99, 0.1])
    np.testing.assert_allclose(places[:3].mean(), wanted[:3].mean())
    crowded = spread(np.ones(4), np.full(4, 0.25))
    np.testing.assert_allclose(np.sort(crowded), [0.25, 0.5, 0.75, 1.0])


def test_a_theory_that_stops_has_a_mark_there_which_legend_and_caption_explain() -> None:
    arch = Architecture("post-norm", depth=12, width=32, heads=4, tokens=16)
    table = predict(arch)
    known = rows(table, "effective_rank")["value"].notna().to_numpy()
    (end,) = lines(depth_profile(table, "effective_rank"), "end")
    assert end[0, 0] == np.flatnonzero(known)[-1] < 12
    legend = comparison(table, "effective_rank").legends[0]
    assert ENDS in [text.get_text() for text in legend.texts]
    assert "The theory of spectra ends" in caption(table, "effective_rank")
    assert lines(depth_profile(table, "variance"), "end") == []
    assert "ends" not in caption(table, "variance")


def test_a_curve_that_explodes_does_not_flatten_the_others() -> None:
    layers = np.arange(SMALL["depth"] + 1.0)
    logs = {"no-norm": 300 * layers, "pre-norm": np.log1p(layers), "post-norm": 0 * layers}
    tables = [tidy(Architecture(p, **SMALL).labels, {("0", "variance"): log}) for p, log in logs.items()]
    (ax,) = comparison(tables, ["variance"]).axes
    assert 5 < ax.get_ylim()[1] < 50
    assert ax.get_yscale() == "log"
    assert [text.get_text() for text in ax.texts if text.get_gid() != "name"] == ["No norm: to $10^{521}$"]


def test_weight_gradients_has_a_panel_for_each_matrix(verified: Tables) -> None:
    table = verified["pre-norm"]
    figure = weight_gradients(table)
    panels = {ax.get_title(): ax for ax in figure.axes if ax.get_title()}
    assert set(panels) == set(table.loc[table["quantity"] == "weight_grad_norm", "stream"])
    (line,) = lines(panels["ffn.up"], "theory")
    np.testing.assert_allclose(line[:, 1], rows(table, "weight_grad_norm", "ffn.up")["theory"], rtol=1e-12)
    with pytest.raises(InputError, match="no weight_grad_norm"):
        weight_gradients(table[table["quantity"] == "variance"])


@pytest.mark.exact
def test_the_gradient_at_the_embedding_is_no_curve() -> None:
    """It has one layer: all streams together are drawn without it, and it can be asked for."""
    table = predict(Architecture("siamese-norm", **SMALL))
    joined, gradient = join(table), view("grad_variance")
    assert [curve.stream for curve in curves(joined, gradient, "all")] == ["0", "1"]
    (alone,) = curves(joined, gradient, "input")
    assert alone.layer.tolist() == [0]


def test_tables_that_differ_in_what_figures_do_not_know_are_refused() -> None:
    arch = Architecture("pre-norm", **SMALL)
    with pytest.raises(InputError, match="differ in a field which figures do not tell apart"):
        depth_profile([predict(arch), predict(arch.with_(activation="relu"))], "grad_variance")


def test_placements_under_rules_of_their_own_stand_in_one_figure() -> None:
    small = "depth=2 width=64 heads=2 tokens=8"
    ax = depth_profile([f"pre-norm unit {small}", f"span-norm depth-scaled-init {small}"], "grad_variance")
    names = " ".join(text.get_text() for text in ax.figure.findobj(mpl.text.Text))
    assert "depth-scaled-init" in names
    with pytest.raises(InputError, match="several values of scaling"):
        depth_profile([f"pre-norm {rule} {small}" for rule in ("unit", "gpt2")], "grad_variance")
