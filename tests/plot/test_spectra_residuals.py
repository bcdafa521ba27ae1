"""Spectra and residuals: what is drawn is what was computed, and spectra agree with random networks."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from scipy import stats

from spannorm_theory import spectra
from spannorm_theory.base.errors import InputError
from spannorm_theory.montecarlo.ensemble import simulate
from spannorm_theory.montecarlo.spectra import simulate_spectra
from spannorm_theory.plot import Explorer, distribution, overview, panels, residuals, spectrum
from spannorm_theory.prediction.exchangeable import predict_pair
from spannorm_theory.prediction.singular_values import quantiles, singular_values
from spannorm_theory.spec.architecture import Architecture
from spannorm_theory.verification.outcome import Verification
from spannorm_theory.verification.verification import compare, verify

SMALL = {"depth": 4, "width": 64, "heads": 4, "tokens": 8}
ARCH = Architecture("span-norm", **SMALL)


@pytest.fixture(scope="module")
def verified() -> Verification:
    return verify(ARCH, networks=6, progress=False)


@pytest.mark.reference
@pytest.mark.parametrize("aspect", [0.1, 0.5, 1.0, 2.0])
def test_quantiles_have_the_moments_of_the_marchenko_pastur_law(aspect: float) -> None:
    values = quantiles(20_000, aspect)
    assert (np.diff(values) <= 0).all()
    assert values.mean() == pytest.approx(1, abs=2e-3)
    assert (values**2).mean() == pytest.approx(1 + aspect, rel=3e-3)
    assert (values == 0).mean() == pytest.approx(max(0, 1 - 1 / aspect), abs=2e-3)


@pytest.mark.exact
def test_simulated_spectra_are_of_the_networks_that_simulate_measures() -> None:
    samples = simulate_spectra(ARCH, (0, 2, 4), networks=3, seed=5)["0"]
    ranks = simulate(ARCH, networks=3, seed=5, dtype="float64", progress=False).samples["0", "stable_rank"]
    np.testing.assert_allclose(1 / samples[:, :, 0] ** 2, ranks[:, [0, 2, 4]], rtol=1e-9)
    np.testing.assert_allclose(np.square(samples).sum(axis=-1), 1, rtol=1e-12)


@pytest.mark.statistical
@pytest.mark.parametrize("mask", ["none", "causal"])
def test_spectra_of_theory_and_networks_agree(mask: str) -> None:
    arch = Architecture("pre-norm", depth=4, width=256, heads=4, tokens=8, mask=mask)
    table = spectra(arch, networks=24, seed=1)
    z = stats.t.isf(1e-3 / (2 * len(table)), 23)
    # the width's own corrections, of relative order 1/sqrt(d) at an edge of the bulk
    allowed = z * table["se"] + 0.07 * table["theory"]
    assert ((table["theory"] - table["estimate"]).abs() < allowed).all()
    flat = table.loc[table["layer"] == 0, "theory"].to_numpy()
    deep = table[table["layer"] == 4]
    assert ((flat - deep["estimate"]).abs() > z * deep["se"] + 0.07 * flat).any()


@pytest.mark.exact
def test_a_spectrum_is_declined_with_the_rank_metrics() -> None:
    arch = Architecture("post-norm", depth=12, width=32, heads=4, tokens=16)
    declined = np.isnan(predict_pair(arch).profiles["0", "effective_rank"])
    found = singular_values(arch, range(13))["0"]
    assert declined.any()
    np.testing.assert_array_equal(np.isnan(found).all(axis=1), declined)


@pytest.mark.exact
def test_tokens_that_positions_tell_apart_have_a_spectrum() -> None:
    found = singular_values(ARCH.with_(positions="rope"), [4])["0"]
    assert np.square(found).sum() == pytest.approx(1, rel=0.01)  # means of roots lose their variance


def test_bad_layers_and_networks_are_refused() -> None:
    with pytest.raises(InputError, match="from 0 to 4"):
        spectra(ARCH, [5])
    with pytest.raises(InputError, match="at least 2"):
        spectra(ARCH, networks=1)


def drawn(ax: Axes, gid: str) -> list[np.ndarray]:
    return [np.asarray(line.get_xydata()) for line in ax.lines if line.get_gid() == gid]


@pytest.mark.exact
def test_a_spectrum_draws_a_line_for_each_layer() -> None:
    table = spectra(ARCH, (0, 4))
    first, last = drawn(spectrum(table), "theory")
    np.testing.assert_allclose(last, table.loc[table["layer"] == 4, ["index", "theory"]], rtol=1e-12)
    assert len(first) == 8
    both = spectra(ARCH.with_(placement="pre-norm"))
    with pytest.raises(InputError, match="2 architectures"):
        spectrum(table.merge(both, how="outer"))


@pytest.mark.exact
def test_residuals_hold_every_tested_row_and_its_mean_on_a_plain_axis(verified: Verification) -> None:
    ax = residuals(verified)
    assert ax.get_xscale() == "linear"
    points = np.concatenate([p for gid in ("within", "allowed", "failed") for p in drawn(ax, gid)])
    tested = verified.table[np.isfinite(verified.table["z"])]
    np.testing.assert_allclose(np.sort(points[:, 0]), np.sort(tested["z"]), rtol=1e-12)
    assert not np.concatenate(drawn(ax, "failed")).size
    means = tested.groupby(["quantity", "stream"], sort=False)["z"].mean()
    np.testing.assert_allclose([bar[0, 0] for bar in drawn(ax, "mean")], means, rtol=1e-9, atol=1e-12)


def test_several_residuals_have_a_panel_each(verified: Verification) -> None:
    other = verify(ARCH.with_(placement="pre-norm"), networks=6, progress=False)
    axes = residuals([verified, other]).get_figure(root=True).axes
    assert [ax.get_title() for ax in axes] == ["SpanNorm", "PreNorm"]
    assert [len(drawn(ax, "layers")) for ax in axes] == [16, 16]
    with pytest.raises(InputError, match="one axes shows the residuals of one verification, got 2"):
        residuals([verified, other], ax=axes[0])


def test_what_lies_beyond_the_axis_of_residuals_stands_at_its_edge(verified: Verification) -> None:
    wrong = compare(predict_pair(ARCH.with_(logit_variance=64.0, activation="relu")), verified.ensemble)
    ax = residuals(wrong)
    largest = float(wrong.table["z"].abs().max())
    assert largest > 2 * wrong.threshold
    assert ax.get_xlim()[1] < 2 * wrong.threshold
    assert f"to {largest:.0f}" in [text.get_text().replace("−", "") for text in ax.texts]
    figure = ax.get_figure(root=True)
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 >= 0
    assert legend.x1 <= figure.bbox.x1


def test_layers_that_the_theory_declines_are_named_like_the_others() -> None:
    arch = Architecture("post-norm", depth=12, width=32, heads=4, tokens=16)
    table = spectra(arch, networks=3)
    ax = spectrum(table)
    declined = [layer for layer, part in table.groupby("layer") if part["theory"].isna().all()]
    assert declined
    layers = [f"$l={layer}$" for layer in (0, 3, 12)]
    assert [text.get_text() for text in ax.get_legend().texts] == layers
    assert [text.get_text() for text in ax.texts] == [f"no theory at $l={', '.join(map(str, declined))}$"]
    figure = panels({"PostNorm": lambda ax: spectrum(table, ax=ax, names=False)})
    assert [text.get_text() for text in figure.legends[0].texts] == layers


@pytest.mark.exact
def test_a_wrong_theory_is_drawn_with_crosses(verified: Verification) -> None:
    wrong = compare(predict_pair(ARCH.with_(logit_variance=9.0)), verified.ensemble)
    crosses = np.concatenate(drawn(residuals(wrong), "failed"))
    assert len(crosses) == len(wrong.failures) > 0


def test_verifications_that_could_not_be_told_apart_are_refused(verified: Verification) -> None:
    with pytest.raises(InputError, match="told apart"):
        residuals([verified, verified])
    with pytest.raises(InputError, match="at least one"):
        residuals([])


def test_panels_share_one_legend(verified: Verification) -> None:
    table = spectra(ARCH)
    figure = panels({name: lambda ax: spectrum(table, ax=ax, names=False) for name in "ab"}, share="y")
    assert [ax.get_title() for ax in figure.axes] == ["a", "b"]
    assert [text.get_text() for text in figure.legends[0].texts] == ["$l=0$", "$l=1$", "$l=4$"]
    with pytest.raises(InputError, match="at least one drawing"):
        panels({})


def test_results_show_themselves_as_tables(verified: Verification) -> None:
    fields = ARCH._repr_html_()
    assert "<th>depth</th><td><b>4</b></td>" in fields
    assert "<th>mask</th><td>none</td>" in fields
    worst = verified.worst()
    shown = verified._repr_html_()
    assert f"{ARCH}: UNDECIDED" in shown
    assert shown.count("<tr") == len(worst) + 1
    ensemble = verified.ensemble._repr_html_()
    assert "6 networks" in ensemble
    assert all(f"<th>{quantity}</th>" in ensemble for quantity in worst["quantity"])


@pytest.mark.exact
def test_a_distribution_is_of_the_samples_and_has_the_theorys_mean(verified: Verification) -> None:
    ax = distribution(verified.ensemble, "grad_variance", 1)
    (law,) = drawn(ax, "theory")
    mean = (np.exp(law[:, 0]) * law[:, 1]).sum() / law[:, 1].sum()
    rows = verified.table.query("quantity == 'grad_variance' and layer == 1")
    assert mean == pytest.approx(rows["theory"].iloc[0], rel=1e-2)
    with pytest.raises(
        InputError, match="unknown quantity of a distribution 'token_cosine'; known: grad_variance, variance"
    ):
        distribution(verified.ensemble, "token_cosine")


def test_the_explorer_follows_its_controls() -> None:
    pytest.importorskip("ipywidgets")
    explorer = Explorer(ARCH, networks=3)
    before = bytes(explorer._image.value)
    explorer.controls["depth"].value = 8
    assert explorer.arch == ARCH.with_(depth=8)
    assert bytes(explorer._image.value) != before
    explorer.controls["scaling"].value = "rezero"
    assert "belongs to no-norm" in explorer._message.value
    explorer.controls["scaling"].value = "unit"
    theory = bytes(explorer._image.value)
    explorer._button.click()
    assert bytes(explorer._image.value) != theory


def test_an_overview_has_three_panels() -> None:
    assert len(overview(ARCH).axes) == 3
    assert drawn(overview(ARCH, networks=3).axes[0], "monte-carlo")
