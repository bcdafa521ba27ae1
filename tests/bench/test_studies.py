"""Precision and accuracy: the promised columns, on sizes that take seconds."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers import rounded

from spannorm_theory.bench import accuracy, precision, regimes, resolutions, steps, theory
from spannorm_theory.montecarlo.ensemble import Ensemble, simulate
from spannorm_theory.prediction.exchangeable import predict_pair
from spannorm_theory.prediction.predict import predict_profiles
from spannorm_theory.spec.architecture import Architecture

TINY = {"width": 32, "heads": 2, "tokens": 6, "depth": 2}


def test_precision_falls_with_the_number_of_bits():
    table = precision.precision([Architecture("pre-norm", **TINY)], networks=3)
    assert list(table.columns) == [
        *("placement", "scaling", "dtype", "quantity", "stream", "layer", "median", "largest")
    ]
    assert (table["median"] <= table["largest"]).all()
    found = precision.summary(table).set_index(["dtype", "quantity"])["largest"]
    for quantity in ("variance", "token_cosine", "grad_variance", "weight_grad_norm"):
        assert 0 < found["float32", quantity] < 1e-4
        assert 100 * found["float32", quantity] < found["bfloat16", quantity] < 1


def test_a_precision_that_cannot_hold_the_numbers_differs_infinitely():
    exact = simulate(Architecture("no-norm", **TINY), 2, dtype="float64", progress=False)
    table = precision._differences(exact, None, "bfloat16")
    assert np.isinf(table["largest"]).all()


@pytest.mark.statistical
def test_accuracy_shows_the_worst_layer_of_both_theories():
    archs = accuracy.cases(["siamese-norm"], ["unit"], ["none", "causal"], **TINY)
    table = accuracy.accuracy(archs, networks=8)
    assert list(table.columns) == [
        *("placement", "scaling", "mask", "theory", "quantity", "stream", "layer", "predicted"),
        *("estimate", "geometric", "error", "se", "z", "target", "met"),
    ]
    assert set(zip(table["mask"], table["theory"], strict=True)) == {
        ("none", "pair"),
        ("none", "sampled"),
        ("causal", "positions"),
        ("causal", "sampled"),
    }
    one = table[(table["mask"] == "none") & (table["theory"] == "pair")]
    assert set(one["quantity"]) == set(accuracy.TOLERANCES)
    assert (one["quantity"] == "weight_grad_norm").sum() == 1
    assert (one["quantity"] == "variance").sum() == 2
    assert (table["met"] == ((table["error"].abs() <= table["target"]) | (table["z"].abs() <= 4))).all()
    assert table.loc[table["quantity"] == "variance", "error"].notna().all()
    gradients = table[table["quantity"] == "grad_variance"]
    assert (gradients["geometric"] <= gradients["estimate"] * 1.2).all()
    assert (gradients["target"] == 0.1).all()
    assert accuracy.tolerance("grad_variance", "depth-scaled-init") == 0.05


@pytest.mark.exact
def test_error_is_theory_over_estimate_and_a_wrong_theory_misses():
    arch = Architecture("pre-norm", **TINY)
    theory = predict_pair(arch)
    samples = {key: np.stack([x + 0.1, x - 0.1]) for key, x in theory.profiles.items()}
    ensemble = Ensemble(arch, 2, 0, "cpu", "explicit", "", "float64", samples)
    table = accuracy.errors(theory, ensemble).set_index(["quantity", "stream"])
    variance = 0.1**2 / 2 * 2  # Cox: half the sample variance of +-0.1
    assert table.loc[("variance", "0"), "error"].to_numpy() == rounded(np.exp(-variance) - 1)
    assert table.loc[("token_cosine", "0"), "error"].to_numpy() == rounded(0)


def test_positions_are_held_against_sampled_heads(monkeypatch):
    archs = accuracy.cases(["pre-norm"], masks=["none", "causal"], **{**TINY, "width": 64})
    table = resolutions.resolutions(archs, draws=16)
    assert set(zip(table["scaling"], table["quantity"], strict=True)) == {
        (arch.scaling, quantity) for arch in archs for quantity in accuracy.TOLERANCES
    }
    assert table["met"].all()
    assert (table["error"].abs() > 0).any()
    gradient = table[table["quantity"] == "grad_variance"].set_index("scaling")
    assert gradient["target"].to_dict() == {"unit": 0.04, "depth-scaled-init": 0.02}
    smooth = gradient["positions"] / gradient["sampled"] - 1
    assert gradient["error"].to_numpy() == rounded(smooth.to_numpy())

    def shifted(arch, theory):
        found = predict_profiles(arch, theory)
        return replace(found, profiles={key: 1.1 * profile + 0.1 for key, profile in found.profiles.items()})

    monkeypatch.setattr(resolutions, "predict_profiles", shifted)
    assert not resolutions.resolutions(archs, draws=16)["met"].any()


def test_hard_regime_compares_three_theories():
    sizes = {"width": 32, "heads": 2, "tokens": 6, "depth": 2}
    table = regimes.hard_regime(networks=6, sizes=sizes)
    cases = ("", ", 1 heads", ", 4 heads", ", width 16", ", width 64")
    strong = [f"logit variance 16{case}" for case in cases]
    assert list(table["case"]) == ["logit variance 1", "logit variance 4", *strong, "causal"]
    for name in ("pair", "positions", "sampled", "published"):
        assert (table[f"{name}_se"].dropna() > 0).all()
    assert pd.isna(table["pair"].iloc[-1])
    assert table["published"].iloc[0] > table["published"].iloc[2]


@pytest.mark.exact
def test_published_closure_is_uniform_attention_without_logits():
    arch = Architecture("pre-norm", **TINY, logit_variance=4.0)
    norms = regimes.published(arch).profiles
    assert norms["attn.query", "weight_grad_norm"].max() < norms["attn.value", "weight_grad_norm"].min() - 9
    causal = regimes.published(arch.with_(mask="causal")).profiles
    assert causal["0", "variance"] == rounded(norms["0", "variance"])


def test_width_sweep():
    table = regimes.width_sweep([Architecture("post-norm", depth=2, tokens=4)], (32, 64), networks=6)
    assert list(table["width"]) == [32, 64]
    assert list(table["networks"]) == [12, 6]
    assert list(table["depth_over_width"]) == [2 / 32, 2 / 64]
    assert (table["geometric"] <= 1).all()
    assert {"pair", "pair_se", "sampled", "sampled_se", "mc_se", "log_variance_se"} <= set(table.columns)


@pytest.mark.statistical
def test_gradients_of_aligned_tokens_scatter_over_networks_as_stated():
    """The leading term in depth / width = 0.16, and room for the next one."""
    arch = Architecture("post-norm", depth=10, tokens=8)
    (row,) = regimes.width_sweep([arch], (64,), networks=400).to_dict("records")
    ratio, error = (row[key] / row["stated_variance"] for key in ("log_variance", "log_variance_se"))
    assert 0.8 - 4 * error < ratio < 1.25 + 4 * error
    assert error < 0.1


@pytest.mark.exact
def test_causal_stacks_are_timed_with_both_theories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(theory, "CAUSAL", ((1, 16, {}), (1, 300, theory.LLAMA)))
    table = theory.causal_speed(True, lambda line: None)
    assert table[["blocks", "tokens", "block"]].to_numpy().tolist() == [[1, 16, "plain"], [1, 300, "llama"]]
    assert (table[["first", "later"]] > 0).all(axis=None)
    assert table["sampled"].notna().tolist() == [True, False]


@pytest.mark.statistical
def test_steps_hold_the_theory_against_networks() -> None:
    archs = steps.cases(["pre-norm"], **steps.QUICK)
    assert len(archs) == 4
    table = steps.steps(archs[:1], 3, "sign", 0, lambda line: None)
    assert set(table["quantity"]) == set(steps.COMPARED)
    assert table["met"].mean() > 0.7
    assert (table["ratio"] > 0.5).all()
    short = steps.summary(table)
    assert list(short["met"]) == [f"{table['met'].sum()} of {len(table)}"]
