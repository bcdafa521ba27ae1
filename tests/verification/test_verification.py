"""The gate: a right theory passes, wrong theories fail, and its numbers mean what they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers import rounded

import spannorm_theory as st
from spannorm_theory import Architecture
from spannorm_theory.base.errors import AssumptionError, InputError
from spannorm_theory.base.quantities import SPECTRAL, Key
from spannorm_theory.montecarlo.ensemble import Ensemble, simulate
from spannorm_theory.prediction.predict import predict_profiles
from spannorm_theory.prediction.prediction import Prediction
from spannorm_theory.softmax.top_k_table import GateOverlaps, GateTable
from spannorm_theory.spec.placements import STANDARD
from spannorm_theory.verification.allowances import fluctuations, spreads
from spannorm_theory.verification.verification import compare, verify

DEFAULT_NETWORKS = 64
SPAN = Architecture("span-norm", "depth-scaled-init", depth=12, width=128, heads=4, tokens=32)


@pytest.fixture(scope="module")
def span() -> Ensemble:
    return simulate(SPAN, networks=DEFAULT_NETWORKS, progress=False)


def _theory_of(arch: Architecture) -> Prediction:
    """The prediction of another architecture, presented as that of the simulated one."""
    return replace(predict_profiles(arch), arch=SPAN)


@pytest.mark.statistical
def test_the_right_theory_passes(span: Ensemble) -> None:
    result = compare(predict_profiles(SPAN), span)
    assert result.passed, result.summary()
    assert result.table["z"].abs().max() > 0.5
    assert "AGREES" in result.summary()


@pytest.mark.statistical
@pytest.mark.parametrize(
    "wrong",
    [
        SPAN.with_(placement="post-norm"),
        SPAN.with_(placement="pre-norm"),
        SPAN.with_(scaling="unit"),
        SPAN.with_(scaling="gpt2"),
        SPAN.with_(scaling="layer-index"),
        SPAN.with_(activation="relu"),
    ],
    ids=str,
)
def test_a_wrong_theory_fails_at_the_default_number_of_networks(span: Ensemble, wrong: Architecture) -> None:
    assert not compare(_theory_of(wrong), span).passed


@pytest.mark.statistical
@pytest.mark.usefixtures("registries")
def test_a_dropped_norm_fails(span: Ensemble) -> None:
    @st.placement("span-norm-less", title="SpanNorm without its second norm", source="test")
    def span_norm_less(x, net):  # type: ignore[no-untyped-def]
        """N(x + attention(x)) feeds the ffn; the sum is left as it is."""
        y = net.norm(net.add(x, net.attention(net.norm(x) if net.first else x)))
        return net.add(x, net.ffn(y))

    assert not compare(_theory_of(SPAN.with_(placement="span-norm-less")), span).passed


@pytest.mark.statistical
def test_the_identity_gain_is_rejected_as_a_gradient_prediction() -> None:
    arch = Architecture("post-norm", depth=8, width=128, heads=4, tokens=32)
    prediction = predict_profiles(arch)
    skip = prediction.profiles["0", "layer_cosine"]
    gains = np.concatenate([np.cumsum(2 * np.log(skip)[::-1])[::-1], [0.0]])
    profiles = {**prediction.profiles, ("0", "grad_variance"): gains}
    ensemble = simulate(arch, networks=DEFAULT_NETWORKS, progress=False)
    assert compare(prediction, ensemble).passed
    assert not compare(replace(prediction, profiles=profiles), ensemble).passed


@pytest.mark.statistical
@pytest.mark.parametrize("name", STANDARD)
def test_every_placement_passes_small(name: str) -> None:
    result = verify(Architecture(name, depth=6, width=128, heads=4, tokens=24), networks=32, progress=False)
    assert result.passed, result.summary()


@pytest.mark.statistical
@pytest.mark.parametrize("activation", ["relu", "silu", "swiglu", "geglu", "reglu", "bilinear"])
def test_every_activation_passes_small(activation: str) -> None:
    arch = Architecture("pre-norm", depth=4, width=128, heads=4, tokens=24, activation=activation)
    result = verify(arch, networks=32, progress=False)
    assert result.passed, result.summary()


@pytest.mark.statistical
@pytest.mark.parametrize(
    "changes",
    [
        {"norm": "layer"},
        {"init": "unit-branch", "activation": "relu"},
        {"init": "xavier"},
        {"init": 0.02},
        {"qkv_norm": True},
        {"qk_norm": True},
        {"input_cosine": 0.5, "input_variance": 2.0},
        {"logit_variance": 4.0},
    ],
    ids=str,
)
def test_every_option_passes_small(changes: dict[str, object]) -> None:
    arch = Architecture("hybrid-norm", "gpt2", depth=4, width=128, heads=4, tokens=24).with_(**changes)
    result = verify(arch, networks=32, progress=False)
    assert result.passed, result.summary()


#: each with a theory that leaves it out
ATTENTION: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"placement": "pre-norm", "positions": "rope", "input_cosine": 0.9, "logit_variance": 4.0},
        {"positions": "none"},
    ),
    (
        {
            "placement": "post-norm",
            "positions": "rope",
            "mask": "causal",
            "input_cosine": 0.9,
            "logit_variance": 4.0,
        },
        {"positions": "none"},
    ),
    ({"placement": "post-norm", "kv_heads": 1, "init": "xavier"}, {"kv_heads": None}),
    ({"placement": "pre-norm", "dropout": 0.2}, {"dropout": 0.0}),
    ({"placement": "post-norm", "attention_dropout": 0.5}, {"attention_dropout": 0.0}),
    (
        {"placement": "pre-norm", "attention_dropout": 0.5, "mask": "causal", "positions": "rope"},
        {"attention_dropout": 0.0},
    ),
    ({"placement": "post-norm", "logit_scale": "linear"}, {"logit_scale": "sqrt"}),
    ({"placement": "pre-norm", "mask": "causal", "window": 4}, {"window": None}),
    (
        {"placement": "post-norm", "qk_norm": True, "qk_norm_over": "width", "logit_scale": "linear"},
        {"qk_norm": False, "qk_norm_over": "head", "logit_scale": "sqrt"},
    ),
]


@pytest.mark.statistical
@pytest.mark.parametrize(("changes", "wrong"), ATTENTION, ids=str)
def test_attention_variants_pass_and_their_absence_fails(
    changes: dict[str, Any], wrong: dict[str, Any]
) -> None:
    arch = Architecture(**{"depth": 4, "width": 128, "heads": 4, "tokens": 24, **changes})
    ensemble = simulate(arch, networks=32, progress=False)
    result = compare(predict_profiles(arch), ensemble)
    assert result.passed, result.summary()
    failures = compare(replace(predict_profiles(arch.with_(**wrong)), arch=arch), ensemble).failures
    assert not failures[~failures["quantity"].isin(SPECTRAL)].empty  # which dropout leaves unpredicted


@pytest.mark.exact
def test_gate_is_k_standard_errors_plus_allowance(span: Ensemble) -> None:
    prediction = predict_profiles(SPAN)
    table = compare(prediction, span).table
    row = table[(table["quantity"] == "token_cosine") & (table["layer"] == 5)].iloc[0]
    k = compare(prediction, span).threshold
    expected = abs(row["estimate"] - row["theory"]) / (k * row["se"] + row["allowance"])
    assert row["gate"] == rounded(expected)
    sample = span.samples["0", "token_cosine"][:, 5]
    assert row["estimate"] == rounded(sample.mean())
    assert row["se"] == rounded(sample.std(ddof=1) / np.sqrt(len(sample)))


@pytest.mark.law
def test_allowance_vanishes_with_width_and_with_branch_size() -> None:
    from spannorm_theory.verification.allowances import allowances

    def allowance(arch: Architecture) -> float:
        return float(allowances(arch, predict_profiles(arch).profiles)["0", "grad_variance"][0])

    assert allowance(SPAN.with_(width=2048)) < allowance(SPAN) / 10
    assert allowance(SPAN) < allowance(SPAN.with_(scaling="unit")) / 3


@pytest.mark.statistical
def test_every_network_is_held_against_the_bounds(span: Ensemble, monkeypatch: pytest.MonkeyPatch) -> None:
    prediction = predict_profiles(SPAN)
    table = compare(prediction, span).table
    assert (table[table["low"].notna()]["outside"] == 0).all()
    key = ("0", "grad_variance")
    shifted = {key: (prediction.profiles[key] + 3, prediction.profiles[key] + 4)}
    monkeypatch.setattr("spannorm_theory.verification.verification.bounds", lambda arch: shifted)
    failures = compare(prediction, span).failures
    assert failures["layer"].tolist() == list(range(SPAN.depth + 1))
    assert set(failures["quantity"]) == {"grad_variance"}
    assert set(failures["verdict"]) == {"out of bounds"}
    assert set(failures["outside"]) == {DEFAULT_NETWORKS}


MOE = Architecture("pre-norm", depth=3, width=256, heads=4, tokens=24, experts=8, top_k=2)
SWITCH = MOE.with_(top_k=1, gates="softmax")


@pytest.mark.statistical
@pytest.mark.parametrize(("vocabulary", "gain"), [(2, 20.0), (3, 20.0), (2, 1.0)])
def test_the_luck_of_few_labels_is_within_the_bounds(vocabulary: int, gain: float) -> None:
    """A network may find all its labels likely, and has hardly a gradient then."""
    arch = Architecture(
        "post-norm", depth=2, width=64, heads=2, tokens=8, loss="cross-entropy", vocabulary=vocabulary,
        head_gain=gain,
    )  # fmt: skip
    result = verify(arch, networks=200, progress=False)
    assert result.passed, result.summary()
    many = arch.with_(vocabulary=1000, head_gain=1.0)  # of which labels are alike, and bounds are judged
    profiles = predict_profiles(many).profiles
    own, width = (f(many, profiles)["0", "grad_variance"] for f in (spreads, fluctuations))
    np.testing.assert_allclose(own, width, rtol=1e-3)


@pytest.mark.statistical
@pytest.mark.parametrize("arch", [MOE, SWITCH], ids=["8-choose-2", "switch"])
@pytest.mark.parametrize("name", ["pre-norm", "post-norm"])
def test_experts_pass(name: str, arch: Architecture) -> None:
    result = verify(arch.with_(placement=name), networks=32, progress=False)
    assert result.passed, result.summary()
    assert {"ffn.router"} < set(result.table["stream"])


@pytest.mark.statistical
def test_experts_pass_under_a_mask() -> None:
    arch = MOE.with_(width=128, depth=4, mask="causal", shared_experts=1, activation="swiglu")
    result = verify(arch, networks=32, progress=False)
    assert result.passed, result.summary()


@pytest.mark.statistical
def test_experts_behind_norms_with_an_epsilon_pass_under_a_mask() -> None:
    """Of a stream that is smaller at late positions the norm's epsilon takes more away."""
    arch = MOE.with_(width=128, tokens=16, mask="causal", norm_epsilon=0.2, input_variance=0.6)
    assert verify(arch, networks=32, progress=False).passed
    with pytest.raises(AssumptionError, match=r"within a factor of 1\.5.*a smaller norm_epsilon"):
        predict_profiles(arch.with_(norm_epsilon=0.0, placement="no-norm"))


@pytest.fixture(scope="module")
def moe() -> Ensemble:
    return simulate(MOE, networks=DEFAULT_NETWORKS, progress=False)


def _without(monkeypatch: pytest.MonkeyPatch, overlap: str) -> Prediction:
    """The prediction of a theory of experts in which an overlap is zero."""
    if overlap == "gap":
        monkeypatch.setattr(GateOverlaps, "gap", property(lambda self: 0.0 * self.t))
    else:
        at = GateTable.at

        def without_router(self: GateTable, v: Any, t: Any) -> GateOverlaps:
            found = at(self, v, t)
            found.cubics[:, 1] = 0
            return replace(found, alone=0 * found.alone)

        monkeypatch.setattr(GateTable, "at", without_router)
    return predict_profiles(MOE)


@pytest.mark.statistical
@pytest.mark.parametrize("overlap", ["gap", "router"])
def test_a_wrong_theory_of_experts_fails(
    moe: Ensemble, overlap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dense kernel, which keeps similar tokens at one expert; and a router without gradients."""
    assert compare(predict_profiles(MOE), moe).passed
    wrong = _without(monkeypatch, overlap)
    if overlap == "router":  # judge the gradients of everything else
        key = ("ffn.router", "weight_grad_norm")
        right = compare(predict_profiles(MOE), moe).table
        wrong.profiles[key] = np.log(right[right["stream"] == key[0]]["estimate"].to_numpy()[-MOE.depth :])
    assert not compare(wrong, moe).passed


@pytest.mark.statistical
@pytest.mark.parametrize("changes", [{"gates": "softmax"}, {"top_k": 3}, {"experts": 4}], ids=str)
def test_a_theory_of_other_experts_fails(moe: Ensemble, changes: dict[str, object]) -> None:
    wrong = replace(predict_profiles(MOE.with_(**changes)), arch=MOE)
    assert not compare(wrong, moe).passed


def test_too_few_networks_are_refused() -> None:
    with pytest.raises(InputError, match="at least 3 for a standard error, got 2"):
        verify(SPAN, networks=2)


@pytest.mark.statistical
@pytest.mark.parametrize("scaling", ["unit", "depth-scaled-init"])
@pytest.mark.parametrize("name", ["pre-norm", "span-norm", "siamese-norm"])
def test_position_resolved_theory_passes_under_a_mask(name: str, scaling: str) -> None:
    arch = Architecture(name, scaling, depth=4, width=128, heads=4, tokens=24, mask="causal")
    result = verify(arch, networks=32, progress=False)
    assert result.theory == "sampled"
    assert result.passed, result.summary()


@pytest.mark.statistical
def test_few_networks_decide_nothing_and_say_how_many_do() -> None:
    """ReLU's theory against GELU's networks passes no gate of a hundred standard errors."""
    arch = Architecture("pre-norm", depth=4, width=64, heads=4, tokens=8)
    ensemble = simulate(arch, networks=4, progress=False)
    right = compare(predict_profiles(arch), ensemble)
    wrong = compare(replace(predict_profiles(arch.with_(activation="relu")), arch=arch), ensemble)
    for result in (right, wrong):
        assert not result.passed
    assert right.verdict == "undecided"
    assert f"networks={right.networks_needed} or more decide" in right.summary()
    assert 15 <= right.networks_needed <= 32
    enough = simulate(arch, networks=right.networks_needed, progress=False)
    assert compare(predict_profiles(arch), enough).threshold <= 6 < right.threshold


def _shifted(prediction: Prediction, names: Sequence[str], factor: float) -> Prediction:
    """Squared norms of these quantities multiplied by ``factor`` at every layer."""
    moved = {k: x + np.log(factor) for k, x in prediction.profiles.items() if k[1] in names}
    return replace(prediction, profiles={**prediction.profiles, **moved})


def _judge(right: Prediction, ensemble: Ensemble, key: Key, error: np.ndarray) -> str:
    """The verdict on a theory with an error in the logarithms of one quantity."""
    wrong = replace(right, profiles={**right.profiles, key: right.profiles[key] + error})
    return compare(wrong, ensemble).verdict


@pytest.mark.reference
@pytest.mark.statistical
@pytest.mark.parametrize("sign", [1, -1])
def test_post_norm_s_growth_is_told_from_a_flat_gradient(deep: Ensemble, sign: int) -> None:
    """An error of 2.6 % in every block, at width 512; the law e^(0.0213 L) has 2.2 %."""
    right = predict_profiles(deep.arch)
    assert compare(right, deep).verdict == "agrees within width"
    error = sign * np.log(1.026) * np.arange(48, -1, -1)
    assert _judge(right, deep, ("0", "grad_variance"), error) == "disagrees"


@pytest.fixture(scope="module")
def deep() -> Ensemble:
    arch = Architecture("post-norm", depth=48, width=512, heads=8, tokens=8)
    return verify(arch, networks=64, progress=False).ensemble


@pytest.mark.long
@pytest.mark.reference
@pytest.mark.statistical
def test_where_width_leaves_little_to_judge() -> None:
    """48 unscaled blocks at width 128: 14 times the query's gradient at the input is seen, 66 % of the
    stream's is not, and the summary counts that row and names a width that sees it."""
    arch = Architecture("post-norm", depth=48, width=128, heads=8, tokens=32)
    result, right = verify(arch, networks=64, progress=False), predict_profiles(arch)
    first = np.arange(48) == 0
    for factor in (14, 1 / 14):
        error = np.log(factor) * first
        assert _judge(right, result.ensemble, ("attn.query", "weight_grad_norm"), error) == "disagrees"
    seen = result.table.set_index(["stream", "quantity", "layer"])["detectable"]
    assert seen["0", "grad_variance", 0] > 1
    assert "rows would pass if they were off by a factor of 2" in result.summary()
    assert result.width_needed >= 2048


@pytest.fixture(scope="module")
def wide() -> Ensemble:
    arch = Architecture("span-norm", "depth-scaled-init", depth=6, width=1024, heads=8, tokens=32)
    return simulate(arch, networks=DEFAULT_NETWORKS, progress=False)


@pytest.mark.statistical
@pytest.mark.parametrize("factor", [1.1, 1 / 1.1])
def test_a_gradient_that_is_off_by_a_tenth_in_every_row_is_rejected(wide: Ensemble, factor: float) -> None:
    """Where the width allows less: 1.5 % at width 1024."""
    prediction = predict_profiles(wide.arch)
    right = compare(prediction, wide)
    assert right.passed, right.summary()
    assert right.drift.loc[right.drift["quantity"] == "grad_variance", "allowance"].item() < 0.015
    wrong = compare(_shifted(prediction, ["grad_variance", "weight_grad_norm"], factor), wide)
    assert wrong.verdict == "disagrees"
    assert set(wrong.drifting["quantity"]) == {"grad_variance", "weight_grad_norm"}


@pytest.mark.statistical
@pytest.mark.parametrize("off", [0.01, -0.01])
def test_a_token_cosine_that_is_off_by_a_hundredth_is_rejected(wide: Ensemble, off: float) -> None:
    prediction = predict_profiles(wide.arch)
    key = ("0", "token_cosine")
    wrong = replace(prediction, profiles={**prediction.profiles, key: prediction.profiles[key] + off})
    result = compare(wrong, wide)
    assert result.verdict == "disagrees"
    assert set(result.drifting["quantity"]) == {"token_cosine"}


@pytest.mark.exact
@pytest.mark.parametrize(
    ("changes", "dtype"),
    [
        ({}, "float32"),
        ({"placement": "post-norm", "depth": 40}, "float64"),
        ({"placement": "no-norm", "depth": 40}, "float64"),
    ],
    ids=["plain", "collapsed", "grown"],
)
def test_what_float32_rounds_away_is_simulated_in_float64(changes: dict[str, Any], dtype: str) -> None:
    arch = Architecture("pre-norm", depth=60, width=16, heads=2, tokens=4, activation="relu").with_(**changes)
    assert verify(arch, networks=3, progress=False).ensemble.dtype == dtype


@pytest.mark.statistical
def test_a_wrong_theory_does_not_widen_its_own_gate(span: Ensemble) -> None:
    """Allowances are those of the measured cosines, whatever a theory says of them."""
    right = predict_profiles(SPAN)
    claims = {k: np.full_like(x, 0.1) for k, x in right.profiles.items() if k[1] == "layer_cosine"}
    wrong = replace(right, profiles={**right.profiles, **claims})
    np.testing.assert_array_equal(
        compare(wrong, span).table["allowance"], compare(right, span).table["allowance"]
    )


@pytest.mark.statistical
def test_the_variance_of_a_normed_stream_is_allowed_nothing() -> None:
    arch = Architecture("post-norm", depth=12, width=128, heads=4, tokens=16)
    ensemble = simulate(arch, networks=32, progress=False)
    right = predict_profiles(arch)
    assert compare(right, ensemble).passed
    climbs = right.profiles["0", "variance"] + np.linspace(0, 0.01, 13)
    wrong = replace(right, profiles={**right.profiles, ("0", "variance"): climbs})
    assert compare(wrong, ensemble).verdict == "disagrees"


@pytest.mark.statistical
def test_a_width_that_decides_little_says_so_and_names_one_that_does() -> None:
    arch = Architecture("post-norm", depth=24, width=64, heads=4, tokens=8)
    result = verify(arch, networks=40, progress=False)
    assert (
        f"rows would pass if they were off by a factor of 2: L/d = 24/64 = {24 / 64:.2g} is large"
        in result.summary()
    )
    assert result.width_needed >= 16 * 64
    allowed = result.table.loc[result.table["quantity"] == "grad_variance", "allowance"].max()
    assert allowed * 64 / result.width_needed <= 0.05


@pytest.mark.parametrize(
    ("name", "routed", "quantity"),
    [
        ("post-norm", {"experts": 4, "top_k": 1}, "weight_grad_norm"),
        ("swin-v2", {}, "weight_grad_norm"),
        ("pre-norm", {"experts": 2, "top_k": 2}, "load_imbalance"),
    ],
)
def test_what_is_exactly_zero_agrees_with_a_theory_of_zero(
    name: str, routed: dict[str, Any], quantity: str
) -> None:
    """The router's gradient behind a top-1 choice whose gate is 1; every weight's under a gain of 0; the
    loads of experts that are all chosen."""
    arch = Architecture(name, depth=2, width=64, heads=4, tokens=8, **routed)
    result = verify(arch, networks=32, progress=False)
    zero = (result.table["theory"] == 0) & (result.table["quantity"] == quantity)
    assert zero.any()
    assert (result.table.loc[zero, "gate"] == 0).all()
    assert result.passed, result.summary()


def test_a_row_of_zero_within_width_is_told_by_its_difference() -> None:
    """The gradient's token cosine is zero where the loss reads the last token alone."""
    arch = Architecture("post-norm", depth=2, width=64, heads=2, tokens=4, loss="last")
    result = verify(arch, networks=40, progress=False)
    assert result.passed
    assert result.outcome() in str(result)


def test_a_theory_of_another_architecture_is_named() -> None:
    text = "pre-norm unit depth=2 width=32 heads=2 tokens=6"
    found = verify(text, networks=4, progress=False, theory=text.replace("pre", "post"))
    assert "pair theory of post-norm unit" in found.summary()
    assert "theory of" not in verify(text, networks=4, progress=False).summary().splitlines()[0]
