"""Positions as a coordinate against sampled heads, Monte Carlo, and what needs no theory."""

import time

import numpy as np
import pytest

from spannorm_theory import Architecture, Multipliers, predict, scaling, simulate
from spannorm_theory.base.errors import AssumptionError, InputError, PositionsError, UnknownNameError
from spannorm_theory.base.quantities import QUANTITIES
from spannorm_theory.layers import position_grid as grids
from spannorm_theory.prediction import positions
from spannorm_theory.prediction.positions import LIMIT, predict_positions
from spannorm_theory.prediction.predict import fitting, predict_profiles
from spannorm_theory.prediction.room import sampled_seconds
from spannorm_theory.prediction.sampled import predict_gram

CAUSAL = Architecture("pre-norm", depth=6, width=1024, heads=16, tokens=64, mask="causal")

#: largest difference from sampled heads beyond four of their standard errors, of logarithms for squared
#: norms: what is aimed at for 64 to 256 tokens at logit variances up to 4
NEAR = {"variance": 0.01, "token_cosine": 0.01, "grad_token_cosine": 0.01, "weight_grad_norm": 0.1}

DESIGNS = [
    CAUSAL,
    CAUSAL.with_(logit_variance=4.0),
    CAUSAL.with_(scaling="depth-scaled-init", logit_variance=4.0, tokens=128),
    CAUSAL.with_(placement="post-norm"),
    CAUSAL.with_(placement="span-norm", scaling="depth-scaled-init"),
    CAUSAL.with_(placement="hybrid-norm", logit_variance=4.0),
    CAUSAL.with_(placement="siamese-norm", scaling="depth-scaled-init"),
    CAUSAL.with_(placement="peri-ln"),
    CAUSAL.with_(positions="rope", kv_heads=4, activation="swiglu"),
    CAUSAL.with_(window=16, tokens=128),
    CAUSAL.with_(qk_norm=True),
    CAUSAL.with_(experts=8, top_k=2, loss="mean"),
    CAUSAL.with_(loss="last", dropout=0.1),
]


@pytest.mark.reference
@pytest.mark.parametrize("arch", DESIGNS, ids=str)
def test_positions_agree_with_sampled_heads(arch: Architecture) -> None:
    found, judge = predict_positions(arch).profiles, predict_gram(arch, draws=64)
    assert judge.errors is not None
    for key, expected in judge.profiles.items():
        near = NEAR.get(key[1])
        if key[1] == "grad_variance":
            near = 0.04 if arch.scaling == "unit" else 0.02
        if near is None or key == ("input", "grad_variance"):
            continue
        off = np.abs(found[key] - expected) - 4 * judge.errors[key]
        assert off.max() < near, (key, off)


HARD = CAUSAL.with_(depth=24, activation="swiglu", ffn_ratio=3.5, init=0.04)


@pytest.mark.reference
@pytest.mark.parametrize(
    "arch",
    [
        HARD.with_(placement="post-norm"),
        HARD.with_(placement="span-norm"),
        CAUSAL.with_(placement="hybrid-norm", scaling="depth-scaled-init", logit_variance=4.0, depth=8),
        CAUSAL.with_(qk_norm=True, heads=64, logit_variance=4.0),
        CAUSAL.with_(placement="no-norm", depth=3, width=256, heads=4, tokens=100, logit_variance=0.2),
        CAUSAL.with_(
            placement="output-norm", depth=4, width=256, heads=4, activation="swiglu", input_cosine=0.95
        ),
        CAUSAL.with_(depth=3, positions="rope", input_cosine=0.7, logit_variance=8.0),
    ],
    ids=str,
)
def test_differences_from_sampled_heads_are_of_the_size_that_is_stated(arch: Architecture) -> None:
    """Also where rows of weights gain a lot by how alike their keys are: stacks that hover between alignment
    and repulsion, the token cosine of which was .53 in place of .67 with even mean weights."""
    found, judge = predict_positions(arch), predict_gram(arch, draws=96)
    assert judge.errors is not None
    for key in [("0", x) for x in ("variance", "token_cosine", "grad_variance")] + [
        (name, "weight_grad_norm") for name in ("attn.query", "attn.key", "attn.value", "ffn.down")
    ]:
        error = np.hypot(found.errors[key], judge.errors[key])
        z = np.abs(found.profiles[key] - judge.profiles[key]) / np.where(error > 0, error, 1)
        assert (np.isnan(z) == (found.errors[key] > LIMIT)).all(), key
        assert not (z > 3).any(), (key, z)


@pytest.mark.reference
def test_keys_of_strong_attention_to_tokens_that_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """What single keys have more is that of their own logits: with that of the whole variance the last
    block is 28 % too large, as against 18 %."""
    monkeypatch.setattr(positions, "LIMIT", 1.0)
    arch = CAUSAL.with_(placement="post-norm", depth=8, logit_variance=16.0)
    key = "attn.key", "weight_grad_norm"
    found, judge = predict_positions(arch).profiles[key], predict_gram(arch, draws=256)
    assert judge.errors is not None
    assert np.abs(found - judge.profiles[key]).max() < 0.18 + 3 * judge.errors[key].max()


@pytest.mark.exact
@pytest.mark.parametrize("placement", ["pre-norm", "post-norm", "siamese-norm", "no-norm"])
def test_even_attention_is_exact_on_a_grid_of_all_positions(
    placement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without logits nothing is approximated but positions that the grid leaves out; the width is that of the
    wide limit, as sampled heads know of 1/d."""
    monkeypatch.setattr(grids, "PER_OCTAVE", 99)
    grids.position_grid.cache_clear()
    arch = CAUSAL.with_(placement=placement, tokens=12, depth=3, logit_variance=1e-9)
    arch = arch.with_(width=2**20, heads=2**17, input_cosine=0.1)
    found, judge = predict_positions(arch), predict_gram(arch, draws=16)
    grids.position_grid.cache_clear()
    for key, expected in judge.profiles.items():
        if QUANTITIES[key[1]].name in NEAR and key[0] not in ("attn.query", "attn.key"):
            assert found.profiles[key] == pytest.approx(expected, abs=1e-5), key
    for key, table in judge.by_position.items():
        assert found.by_position[key] == pytest.approx(table, abs=1e-5)


@pytest.mark.reference
def test_the_grid_itself_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    arch = CAUSAL.with_(tokens=256, logit_variance=4.0)
    coarse = predict_positions(arch).profiles
    monkeypatch.setattr(grids, "PER_OCTAVE", 16)
    grids.position_grid.cache_clear()
    fine = predict_positions(arch).profiles
    grids.position_grid.cache_clear()
    for key, expected in fine.items():
        if key[1] in NEAR or key[1] == "grad_variance":
            assert coarse[key] == pytest.approx(expected, abs=4e-3), key


@pytest.mark.statistical
def test_positions_agree_with_monte_carlo() -> None:
    arch = CAUSAL.with_(tokens=128, width=512, heads=8, depth=4)
    found, measured = predict_positions(arch).profiles, simulate(arch, networks=24, progress=False)
    table = measured.table.set_index(["stream", "quantity"])
    for name, near in (("variance", 0.03), ("grad_variance", 0.08)):
        rows = table.loc["0", name]
        off = np.abs(found["0", name] - rows["log_value"].to_numpy())
        assert (off < near + 4 * rows["se"].to_numpy() / rows["value"].to_numpy()).all()
    rows = table.loc["0", "token_cosine"]
    assert (np.abs(found["0", "token_cosine"] - rows["value"]) < 0.015 + 4 * rows["se"]).all()


@pytest.mark.exact
@pytest.mark.long  # 160 blocks, until errors of the grid have grown
def test_a_stack_that_outgrows_the_grid_is_refused() -> None:
    deep = CAUSAL.with_(placement="post-norm", depth=220, width=4096, heads=32, tokens=2048)
    deep = deep.with_(kv_heads=8, activation="swiglu", positions="rope", init=0.02, input_variance=4e-4)
    with pytest.raises(PositionsError, match="cosines of positions pass 1 at layer"):
        predict_positions(deep)


@pytest.mark.exact
def test_a_stack_of_which_too_much_is_left_out_is_sampled() -> None:
    """A factor of 1.4 in gradients is the most that an answer may be uncertain by."""
    arch = CAUSAL.with_(placement="output-norm", depth=9, width=256, heads=4, tokens=80)
    arch = arch.with_(input_cosine=0.95, activation="swiglu")
    reason = r"logits have a second moment of .* beyond 1\.4; .*; theory='sampled' takes about"
    with pytest.raises(PositionsError, match=reason):
        predict_positions(arch)
    assert predict_profiles(arch).theory == "sampled"
    with pytest.raises(PositionsError, match=reason):
        predict_profiles(arch.with_(tokens=1024))  # too long to be taken unasked
    assert predict_profiles(arch.with_(depth=4)).theory == "positions"


def test_a_real_context_takes_about_a_second() -> None:
    """48 blocks of 4,096 tokens: 0.6 s of a processor when it was measured, and not more with more tokens."""
    arch = CAUSAL.with_(depth=48, width=4096, heads=32, tokens=4096, positions="rope", activation="swiglu")
    predict_positions(arch)
    start = time.process_time()
    found = predict_positions(arch).profiles
    assert time.process_time() - start < 3
    assert all(np.isfinite(found["0", name]).all() for name in ("variance", "grad_variance", "token_cosine"))


@pytest.mark.exact
def test_the_theory_is_picked_by_tokens_and_can_be_asked_for() -> None:
    assert fitting(CAUSAL.with_(mask="none")) == "pair"
    assert fitting(CAUSAL) == "sampled"
    assert fitting(CAUSAL.with_(tokens=65)) == "positions"
    assert fitting(CAUSAL.with_(depth=300)) == "positions"  # which sampling takes longer than two seconds
    assert fitting(CAUSAL.with_(depth=300, sinks=True)) == "sampled"
    assert fitting(CAUSAL.with_(tokens=65, attention_dropout=0.1)) == "sampled"
    assert set(predict(CAUSAL, theory="positions")["theory"]) == {"positions"}
    with pytest.raises(UnknownNameError, match="did you mean positions"):
        predict_profiles(CAUSAL, "position")


def test_what_positions_cannot_carry_is_refused_with_the_time_of_the_sampled_answer() -> None:
    with pytest.raises(AssumptionError, match=r"dropout=0\.1 is derived with.*theory='pair' is for"):
        predict_positions(CAUSAL.with_(mask="none", attention_dropout=0.1))
    with pytest.raises(AssumptionError, match=r"sinks=True is derived.*theory='sampled' takes about"):
        predict_positions(CAUSAL.with_(mask="none", sinks=True))
    with pytest.raises(AssumptionError, match=r"dropout=0\.1 is derived with sampled heads"):
        predict_positions(CAUSAL.with_(attention_dropout=0.1))
    with pytest.raises(AssumptionError, match="beyond those of the table"):
        predict_positions(CAUSAL.with_(logit_variance=100.0))
    with pytest.raises(PositionsError, match="theory='sampled' takes about 39 s"):
        predict_profiles(CAUSAL.with_(tokens=512, logit_variance=100.0))  # too long to be taken unasked
    long = CAUSAL.with_(tokens=10**5)
    for theory in ("positions", "auto"):  # of which sampled heads would take too much memory
        with pytest.raises(
            AssumptionError,
            match=r"a window of 64 .*; use tokens=\d+, or window=\d+; theory='sampled' has no memory",
        ):
            predict_profiles(long.with_(window=64), theory)
    with pytest.raises(InputError, match="are free; theory='positions' takes them all, or tokens"):
        predict_profiles(long, "sampled")
    with pytest.raises(InputError, match="are free; tokens"):
        predict_profiles(long.with_(window=64), "sampled")
    assert sampled_seconds(CAUSAL.with_(tokens=128)) == pytest.approx(1.32)


@pytest.mark.reference
def test_tables_by_position_agree_between_theories_and_average_to_the_profile() -> None:
    arch = CAUSAL.with_(depth=2)
    few = predict(arch, theory="positions", by="position", positions=[1, 2, 5, 33, 64])
    every = predict(arch, theory="sampled", by="position", positions=range(1, 65))
    keys = ["layer", "position", "stream", "quantity"]
    both = few.merge(every, on=keys, suffixes=("", "_judge"))
    assert len(both) == len(few) == 3 * 5 * 2
    off = (both["log_value"] - both["log_value_judge"]).abs()
    assert (off < 4 * both["se_judge"] + 0.02).all()
    profile = predict(arch, theory="sampled").set_index(["stream", "quantity", "layer"])["value"]
    mean = every.groupby(["stream", "quantity", "layer"])["value"].mean()
    assert mean.to_numpy() == pytest.approx(profile[mean.index].to_numpy(), rel=0.01)


@pytest.mark.exact
def test_tokens_that_are_alike_have_one_moment_at_every_position() -> None:
    table = predict(CAUSAL.with_(mask="none", depth=2), by="position", positions=[1, 64])
    assert table.groupby(["layer", "quantity"])["value"].nunique().eq(1).all()
    with pytest.raises(AssumptionError, match="loss='last' reads one"):
        predict(CAUSAL.with_(mask="none", loss="last"), by="position")
    with pytest.raises(InputError, match="from 1 to 64"):
        predict(CAUSAL, by="position", positions=[0])


@pytest.mark.reference
@pytest.mark.parametrize("apart", [1e-3, 1e-6, 1e-8])
def test_nearly_equal_tokens_keep_the_digits_of_queries_and_keys(apart: float) -> None:
    """Their gradients go as the square of 1 - rho, and are left out where that is rounding."""
    arch = CAUSAL.with_(depth=2, input_cosine=1 - apart)
    found, judge = predict_positions(arch).profiles, predict_gram(arch, draws=64)
    for name in ("attn.query", "attn.key"):
        key = name, "weight_grad_norm"
        assert judge.errors is not None
        assert (np.abs(found[key] - judge.profiles[key]) < 0.1 + 4 * judge.errors[key]).all()
    declined = predict_positions(arch.with_(input_cosine=1 - 1e-10)).profiles
    assert np.isnan(declined["attn.query", "weight_grad_norm"]).all()


@pytest.mark.exact
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"heads": 256}, "heads of 4 coordinates"),
        ({"heads": 128, "qk_norm": True}, "heads of 8 coordinates are narrower than the 16"),
        ({"inputs": "zipf", "vocabulary": 30_000}, "ids of vocabulary=30000 repeat too often"),
        ({"latent_keys": 16}, "latent_keys=16 is less than 64"),
        ({"latent_keys": 64, "latent_queries": 32}, "latent_queries=32 is less than 64"),
        ({"qk_norm": True, "loss": "mean"}, "loss='mean', one gradient for all tokens"),
        ({"positions": "rope", "rotary_base": 10.0}, "rotary_base=10 is below 1000"),
    ],
)
def test_what_a_smooth_theory_does_not_see_is_left_to_sampled_heads(
    changes: dict[str, object], reason: str
) -> None:
    arch = CAUSAL.with_(tokens=80, depth=1, **changes)
    with pytest.raises(AssumptionError, match=reason):
        predict_positions(arch)
    assert fitting(arch) == "sampled"


@pytest.mark.exact
def test_logits_beyond_the_table_are_sampled() -> None:
    arch = CAUSAL.with_(tokens=70, depth=1, logit_variance=100.0)
    assert set(predict(arch)["theory"]) == {"sampled"}


@pytest.mark.exact
@pytest.mark.usefixtures("registries")
def test_a_norm_of_values_that_are_zero_is_refused() -> None:
    @scaling("no-values", title="No values", source="here")
    def rule(sublayer: str, l: object, L: object, d: object) -> Multipliers:
        return Multipliers(gains={"attn.value": 0})

    arch = CAUSAL.with_(placement="sub-ln", scaling="no-values", depth=2)
    with pytest.raises(AssumptionError, match="reads what is always zero"):
        predict_positions(arch)
