"""Scaling rules at concrete (l, L, d) against numbers computed by hand, and the equalities between them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers import UNIT, equal, rounded
from sympy import Expr, Integer, Rational, exp, log, sqrt

import spannorm_theory as st
from spannorm_theory.asymptotics.growth import Growth
from spannorm_theory.base import symbols
from spannorm_theory.base.errors import InputError, UnknownNameError
from spannorm_theory.spec.architecture import Architecture
from spannorm_theory.spec.placements import PLACEMENTS
from spannorm_theory.spec.scaling import WEIGHTS, Multipliers, scaling
from spannorm_theory.spec.scalings import SCALINGS

pytestmark = pytest.mark.exact

L, l, q0 = symbols.depth, symbols.layer, symbols.initial_variance
sa, sf = symbols.sigma_a2, symbols.sigma_f2

VALUE_PATH = dict.fromkeys(("attn.value", "attn.output", "ffn.up", "ffn.gate", "ffn.down"), 1.0)
OUTPUTS = ("attn.output", "ffn.down")


def on(names, gain):  # type: ignore[no-untyped-def]
    return dict.fromkeys(names, gain)


#: standard deviations that rules state at d = 100, L = 8: sqrt(2/(5d)), and 2/(L sqrt(d))
STATED = {
    "small-init": on(WEIGHTS, 0.063245553),
    "wang": {**on(WEIGHTS, 0.063245553), **on(OUTPUTS, 1 / 40)},
    "gamma-init": {**on(WEIGHTS, 0.063095734), "ffn.down": 0.027464014},  # 100^-0.6, 400^-0.6
}

#: at l = 2 (the third block), L = 8, d = 100: skip, branch, norm, gains, by hand from the papers' formulas
#: to DIGITS
DIGITS = 1e-7
BY_HAND: dict[str, tuple[float, float, float, dict[str, float]]] = {
    "unit": (1, 1, 1, {}),
    "gpt2": (1, 1, 1, on(OUTPUTS, 1 / 4)),
    "depth-scaled-init": (1, 1, 1, on(OUTPUTS, 0.35355339)),
    "inverse-layer-logits": (1, 1, 1, {}),
    "mitchell": (1, 1, 1, on(OUTPUTS, 0.40824829)),
    "olmo-llama": (1, 1, 1, on((*OUTPUTS, "ffn.up"), 1 / 4)),
    "olmo-llama-depth": (1, 1, 1, on((*OUTPUTS, "ffn.up"), 0.40824829)),
    "ds-init": (1, 1, 1, on(WEIGHTS, 0.57735027)),
    "ds-init-code": (1, 1, 1, on(WEIGHTS, 0.75983569)),
    "b2t-code": (1, 1, 1, on(WEIGHTS, 0.35355339)),
    "deepnorm-init": (1, 1, 1, on(VALUE_PATH, 0.35355339)),
    "sub-ln": (1, 1, 1, on(VALUE_PATH, 1.66510922)),
    "t-fixup": (1, 1, 1, on(VALUE_PATH, 0.39838438)),
    "t-fixup-decoder": (1, 1, 1, on(VALUE_PATH, 0.34329453)),
    "t-fixup-code": (
        1,
        1,
        1,
        {**on(VALUE_PATH, 0.39838438), "attn.query": 0.70710678, "attn.key": 0.70710678},
    ),
    "fixup": (1, 1, 1, {**on(("attn.value", "ffn.up", "ffn.gate"), 1 / 4), **on(OUTPUTS, 0)}),
    "fixup-code": (
        1,
        1,
        1,
        {
            **on(("attn.query", "attn.key", "attn.value"), 0.62996052),
            **on(("ffn.up", "ffn.gate"), 1 / 4),
            **on(OUTPUTS, 0),
        },
    ),
    "small-init": (1, 1, 1, {}),
    "wang": (1, 1, 1, {}),
    "span-scale-init": (1, 1, 1, on(OUTPUTS, 0.35355339)),
    "gamma-init": (1, 1, 1, {}),
    "llama2.c": (1, 1, 1, on(("attn.output", "ffn.up"), 1 / 4)),
    "torchtitan": (1, 1, 1, on((*OUTPUTS, "ffn.up"), 0.40824829)),
    "looped-residual": (1, 1 / 4, 1, {}),  # four blocks, twice: 1/(2 sqrt(4))
    "complete-d-p": (1, 1 / 4, 1, {}),
    "esm-c": (1, 0.35355339, 1, {}),
    "megatron-depth-mup": (1, 1 / 4, 1, on(OUTPUTS, 1 / 2)),  # sqrt(8/2) / sqrt(16)
    "granite": (1, 0.22, 1, {}),
    "minicpm": (1, 0.49497475, 1, {}),
    "branch-sqrt-depth": (1, 1 / 4, 1, {}),
    "layer-index": (1, 0.40824829, 1, {}),
    "depth-mup": (1, 0.35355339, 1, {}),
    "completep": (1, 1 / 4, 1, {}),
    "spectral-mup": (1, 1 / 8, 1, {}),
    "skip-init": (1, 1 / 4, 1, {}),
    "rezero": (1, 0, 1, {}),
    "layerscale-18": (1, 0.1, 1, {}),
    "layerscale-24": (1, 1e-5, 1, {}),
    "layerscale-36": (1, 1e-6, 1, {}),
    "lns": (1, 1, 0.57735027, {}),
    "deepnorm": (2, 1, 1, on(VALUE_PATH, 0.35355339)),
    "deepnorm-baseline-code": (2.828, 1, 1, on(VALUE_PATH, 2.82842712)),
    "keel": (16, 1, 1, {}),
    "deeploop": (4, 1, 1, on(VALUE_PATH, 1 / 8)),
    "admin": (2.23612499, 1, 1, {}),
    "admin-profiled": (math.sqrt(5), 1, 1, {}),
    "deepscalelm": (0.93541435, 0.35355339, 1, {}),
}


def numbers(rule, sublayer):  # type: ignore[no-untyped-def]
    found = SCALINGS[rule].multipliers(sublayer)

    def at(e):  # type: ignore[no-untyped-def]
        return float(e.subs({l: 2, L: 8, symbols.width: 100}))

    return at(found.skip), at(found.branch), at(found.norm), {n: at(g) for n, g in found.gains.items()}


@pytest.mark.parametrize("rule", SCALINGS)
def test_multipliers_by_hand(rule: str) -> None:
    skip, branch, norm, gains = BY_HAND[rule]
    for sublayer in ("attention", "ffn"):
        expected = skip if (rule, sublayer) != ("admin-profiled", "ffn") else math.sqrt(6)
        found = numbers(rule, sublayer)
        assert found[:3] == pytest.approx((expected, branch, norm), rel=DIGITS)
        assert found[3] == pytest.approx(gains, rel=DIGITS)
        at = {L: 8, symbols.width: 100}
        std = {name: float(s.subs(at)) for name, s in SCALINGS[rule].multipliers(sublayer).std.items()}
        assert std == pytest.approx(STATED.get(rule, {}), rel=DIGITS)
        outputs = SCALINGS[rule].multipliers(sublayer).outputs
        expected_outputs = {"attn.query": 1 / 3} if rule == "inverse-layer-logits" else {}
        assert {name: float(x.subs(symbols.layer, 2)) for name, x in outputs.items()} == expected_outputs


def test_rules_at_the_depths_of_their_papers() -> None:
    """DeepNorm's 2.828 is its 32 blocks; DeepScaleLM's beta^2 = 0.005 is 192 blocks to its digits."""
    assert SCALINGS["deepnorm"].multipliers("ffn").skip.subs(L, 32) == sqrt(8)
    assert float(SCALINGS["deepscalelm"].multipliers("ffn").branch.subs(L, 192)) ** 2 == pytest.approx(
        0.005, rel=0.05
    )


class TestCombined:
    def test_multiplies_everything(self) -> None:
        skip, branch, norm, gains = numbers("deepnorm+lns", "ffn")
        assert (skip, branch, norm) == pytest.approx((2, 1, 0.57735027), rel=DIGITS)
        assert gains == pytest.approx(on(VALUE_PATH, 0.35355339), rel=DIGITS)
        assert numbers("gpt2+mitchell", "ffn")[3] == pytest.approx(on(OUTPUTS, 0.40824829 / 4), rel=DIGITS)
        assert numbers("gpt2 + branch-sqrt-depth", "ffn")[1] == rounded(1 / 4)

    def test_multiplies_embeddings_too(self) -> None:
        factor = SCALINGS["t-fixup+t-fixup-decoder"].embedding(Integer(8), Integer(100))
        assert float(factor) == pytest.approx(0.34329453**2, rel=DIGITS)

    def test_order_does_not_matter(self) -> None:
        a, b = (SCALINGS[name].multipliers("ffn") for name in ("gpt2+lns", "lns+gpt2"))
        assert (a.norm, a.gains) == (b.norm, b.gains)

    def test_keeps_what_every_part_is_limited_to(self) -> None:
        assert SCALINGS["gpt2+fixup"].only == SCALINGS["fixup"].only
        assert SCALINGS["gpt2+sub-ln"].only == ("sub-ln",)
        with pytest.raises(InputError, match="no placement takes all of t-fixup, keel"):
            SCALINGS["t-fixup+keel"]

    def test_an_unknown_part_is_named(self) -> None:
        with pytest.raises(UnknownNameError, match="unknown scaling rule 'gpt3'; did you mean gpt2"):
            SCALINGS["gpt3+lns"]

    def test_lns_as_a_rule_is_the_placement(self) -> None:
        rule = st.derive("pre-norm", "lns").block.forward[0, 0]
        assert equal(rule, st.derive("ln-scaling").block.forward[0, 0])


@pytest.mark.parametrize(
    ("rule", "placement", "reason"),
    [
        ("sub-ln", "pre-norm", "the norm in front of each branch's last matrix holds the branch"),
        ("t-fixup", "pre-norm", "It replaces norms, so it needs a stack without"),
        ("rezero", "post-norm", "It stands in for norms, so it needs a stack without"),
        ("skip-init", "pre-norm", "It stands in for norms"),
        ("deepnorm", "pre-norm", "It needs a norm after every sum"),
        ("keel", "sandwich", "It needs a norm after every sum"),
        ("admin-profiled", "hybrid-norm", "It needs a norm after every sum"),
        ("gpt2+deeploop", "pre-norm", "It needs a norm after every sum"),
    ],
)
def test_refusals_name_the_placements_and_the_reason(rule: str, placement: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        st.Architecture(placement, rule)
    assert f"{rule!r} belongs to " in str(caught.value)
    with pytest.raises(InputError, match=reason):
        st.derive(placement, rule)


def test_norm_multipliers_need_a_norm_in_front_of_the_branch() -> None:
    with pytest.raises(InputError, match=r"multiplies the norm in front of each branch.*not a norm's output"):
        st.derive("post-norm", "lns").block  # noqa: B018
    with pytest.raises(InputError, match="factors of their own"):
        st.derive("parallel-post", "admin-profiled").block  # noqa: B018


@pytest.mark.parametrize("rule", ["t-fixup", "t-fixup-decoder", "t-fixup-code"])
def test_embedding_factor_in_theory_and_monte_carlo(rule: str) -> None:
    """Second moment (9L)^(-1/2), times that of the input."""
    arch = st.Architecture(
        "no-norm", rule, depth=4, width=256, heads=4, tokens=16, activation="relu", input_variance=2.0
    )
    expected = 2.0 / math.sqrt(9 * 4)
    assert arch.input_second_moment == pytest.approx(expected, rel=1e-12)
    table = st.predict(arch)
    start = table[(table["quantity"] == "variance") & (table["layer"] == 0)]["value"].iloc[0]
    assert start == pytest.approx(expected, rel=1e-12)
    sample = np.exp(st.simulate(arch, networks=4, progress=False).samples["0", "variance"][:, 0])
    # five standard errors of a mean over 4 networks of 16 x 256 coordinates
    assert sample.mean() == pytest.approx(expected, abs=5 * expected * math.sqrt(2 / (4 * 16 * 256)))


def profiles(*args, **kwargs):  # type: ignore[no-untyped-def]
    """The predicted table without the columns that only name the architecture."""
    arch = st.Architecture(*args, depth=6, width=256, heads=4, tokens=16, **kwargs)
    return st.predict(arch).drop(columns=["placement", "scaling"])


class TestEqualities:
    def test_deepnorm_as_a_placement_or_as_a_rule(self) -> None:
        a, b = st.derive("deepnorm", "deepnorm-init"), st.derive("post-norm", "deepnorm")
        assert a.forward == b.forward
        assert a.backward == b.backward
        assert a.identity_gain() == b.identity_gain()
        left, right = profiles("deepnorm", "deepnorm-init"), profiles("post-norm", "deepnorm")
        np.testing.assert_array_equal(left["log_value"], right["log_value"])

    def test_admin_as_a_placement_or_as_a_rule(self) -> None:
        assert st.derive("admin").forward == st.derive("post-norm", "admin").forward
        assert st.derive("admin").backward == st.derive("post-norm", "admin").backward

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("peri-ln(embedding_norm=False)", "sandwich"),
            ("gpas", "pre-norm"),
            ("mix-ln(fraction=0.0)", "pre-norm"),
            ("mix-ln(fraction=1.0)", "post-norm"),
            ("swin-v2(gain=1.0)", "olmo2"),
        ],
    )
    def test_the_same_at_initialisation(self, one: str, other: str) -> None:
        assert str(PLACEMENTS[other].trace("unit")) == str(st.Architecture(one, depth=8).block(5))
        left, right = (profiles(name, input_variance=3.0) for name in (one, other))
        left = left[~left["stream"].str.endswith("gain")]  # learnt gains of one, which the other has not
        if one.startswith("mix-ln(fraction=1"):  # which reads out through a norm of the normed stream
            left, right = (t[~t["quantity"].str.contains("grad")] for t in (left, right))
        np.testing.assert_allclose(left["log_value"], right["log_value"], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(left["value"], right["value"], rtol=1e-12, atol=1e-12)

    def test_hyper_connections_carry_pre_norms_stream_four_times(self) -> None:
        four, one = profiles("hyper-connections"), profiles("pre-norm")
        forward = ["variance", "token_cosine", "rank_residual", "stable_rank", "layer_cosine", "branch_share"]
        for quantity in forward:
            expected = one[one["quantity"] == quantity]["value"]
            for stream in "0123":
                own = four[(four["quantity"] == quantity) & (four["stream"] == stream)]["value"]
                np.testing.assert_allclose(own, expected, rtol=1e-12)
        weights = [t[t["quantity"] == "weight_grad_norm"]["log_value"] for t in (four, one)]
        np.testing.assert_allclose(*weights, rtol=1e-12, atol=1e-12)

    @pytest.mark.reference
    def test_fixup_of_four_matrices_has_four_times_the_output_s_gradient(self) -> None:
        """Of attention, 12 blocks at width 256; the feed-forward branch is the same."""
        shape = {"depth": 12, "width": 256, "heads": 8, "tokens": 32}
        four, two = (
            st.predict(st.Architecture("no-norm", rule, **shape)).set_index(["stream", "quantity", "layer"])
            for rule in ("fixup-code", "fixup")
        )
        output, down = ((name, "weight_grad_norm", 0) for name in ("attn.output", "ffn.down"))
        assert four.loc[output, "value"] == pytest.approx(4 * two.loc[output, "value"], rel=0.05)
        assert four.loc[down, "value"] == pytest.approx(two.loc[down, "value"], rel=1e-12)

    def test_fixup_and_rezero_are_the_identity(self) -> None:
        for rule in ("fixup", "fixup-code", "rezero"):
            r = st.derive("no-norm", rule)
            assert r.block.forward[0, 0] == r.block.moment(0, 0)
            assert r.gradient_ratio() == 1


def growth(placement: str, scaling: str, name: str) -> Growth:
    law = st.derive(placement, scaling).asymptotics()[name]
    assert isinstance(law, Growth), law
    return law


class TestClosedForms:
    def test_normed_branches_add_one_each(self) -> None:
        """Sandwich, Peri-LN and output norm: slope 2 per block whatever the branches' size."""
        for name in ("sandwich", "output-norm", "olmo2"):
            assert equal(st.derive(name).moment_at((0, 0), l), q0 + 2 * l)
        assert equal(st.derive("peri-ln").moment_at((0, 0), l), 1 + 2 * l)
        assert equal(st.derive("parallel-peri").moment_at((0, 0), l), q0 + l)

    def test_parallel_pre_has_pre_norms_slope(self) -> None:
        assert equal(st.derive("parallel-pre").moment_at((0, 0), l), q0 + (sa + sf) * l)

    def test_sub_ln_has_slope_gamma_squared(self) -> None:
        found = st.derive("sub-ln", "sub-ln").moment_at((0, 0), l)
        assert equal(found, q0 + (sa + sf) * log(2 * L) * l)

    def test_ln_scaling_grows_like_log_depth(self) -> None:
        law = growth("ln-scaling", "unit", "q")
        assert (law.rate, law.power, law.log_power) == (0, 0, 1)
        assert equal(law.prefactor, sa + sf)

    @pytest.mark.parametrize(
        ("rule", "expected"),
        [
            ("gpt2", q0 + (sa + sf) / 2),
            ("depth-mup", q0 + sa + sf),
            ("depth-scaled-init", q0 + sa + sf),
            ("spectral-mup", q0 + (sa + sf) / L),
            ("completep", q0 + 4 * (sa + sf) / L),
            ("wang", q0 + (4 * sa * Rational(4, 10) + 16 * sf * Rational(4, 10)) / L),
            ("layerscale-18", q0 + L * (sa + sf) / 100),
            ("b2t-code", q0 + sa / L + sf / L),
        ],
    )
    def test_variance_of_pre_norm_under_a_rule(self, rule: str, expected: object) -> None:
        assert equal(st.derive("pre-norm", rule).moment_at((0, 0), L), expected)

    def test_identity_gain_of_deepnorm_tends_to_one(self) -> None:
        law = growth("post-norm", "deepnorm", "identity_gain")
        assert law.shape == 1
        assert float(law.prefactor.subs(UNIT)) == rounded(1)
        gain = st.derive("post-norm", "deepnorm").identity_gain().subs(UNIT)
        # our corollary: the branches' summed power is 2L beta^4/alpha^2 = 1/(4 sqrt(2L))
        assert float(gain.subs(L, 10.0**6)) == pytest.approx(math.exp(-1 / (8 * math.sqrt(2e6))), rel=1e-9)

    @pytest.mark.parametrize(("sublayers", "published"), [(64, 0.9922), (512, 0.9990)])
    def test_skip_product_of_keel(self, sublayers: int, published: float) -> None:
        """prod alpha / sqrt(alpha^2 + 1) over N sublayers, alpha = N, of PostNorm with Keel's skips."""
        gain = st.derive("post-norm", "keel").identity_gain().subs(UNIT).subs(L, sublayers // 2)
        assert float(gain) == pytest.approx((sublayers / math.sqrt(sublayers**2 + 1)) ** sublayers, rel=1e-12)
        assert float(gain) == pytest.approx(published, abs=5e-5)  # four digits
        assert float(growth("post-norm", "keel", "identity_gain").prefactor.subs(UNIT)) == 1

    def test_keels_first_block_costs_a_factor(self) -> None:
        """Its first block has no alpha and one norm: of two branches beside an embedding of the same size."""
        gain = st.derive("keel", "keel").identity_gain().subs(UNIT)
        expected = (64 / math.sqrt(64**2 + 1)) ** 62 / math.sqrt(3)
        assert float(gain.subs(L, 32)) == pytest.approx(expected, rel=1e-12)

    def test_identity_gain_of_parallel_post(self) -> None:
        gain = st.derive("parallel-post").identity_gain()
        assert float(gain.subs({sa: 2, sf: 3, q0: 1, L: 4}).evalf()) == rounded(6**-2)
        law = growth("parallel-post", "depth-scaled-init", "identity_gain")
        assert equal(law.prefactor.subs(q0, 1), exp(-(sa + sf) / 2))

    def test_post_norm_skip_product_is_two_to_minus_half_the_sublayers(self) -> None:
        gain = float(st.derive("post-norm").identity_gain().subs(UNIT).subs(L, 32))
        assert gain == pytest.approx(2.0**-32, rel=1e-9, abs=0)
        assert gain == pytest.approx(2.3e-10, rel=0.02, abs=0)  # two digits


@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (1 / (symbols.layer - 2), r"the factor 1/\(l - 2\) is no finite real number at layer 2 of 4"),
        (1 / (symbols.depth - 4), r"the factor 1/\(L - 4\) is no finite real number at layer 0 of 4"),
        (
            10 ** (200 * symbols.layer),
            r"the factor 10\*\*\(200\*l\) is 1.0e\+200, whose square .* at layer 1 of 4",
        ),
        (sqrt(1 - symbols.layer), r"the factor sqrt\(1 - l\) is no finite real number at layer 2 of 4"),
    ],
)
def test_factors_that_are_no_numbers_at_some_layer_are_refused(factor: Expr, message: str) -> None:
    from spannorm_theory import predict, simulate

    scaling("odd", title="odd", source="test")(lambda sublayer, l, L, d: Multipliers(branch=factor))
    arch = Architecture("pre-norm", "odd", depth=4, width=16, heads=4, tokens=4)
    for ask in (predict, lambda a: simulate(a, networks=2, progress=False)):
        with pytest.raises(InputError, match=message):
            ask(arch)
