"""Comparisons: their numbers against tables of ``predict`` read with pandas, order, names and errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from math import inf, isnan, log, nan

import numpy as np
import pandas as pd
import pytest

import spannorm_theory as st
from spannorm_theory.atlases.records import Found
from spannorm_theory.atlases.trend import Trend
from spannorm_theory.base.errors import AssumptionError, InputError, PositionsError, UnknownNameError
from spannorm_theory.comparing.laws import text_of
from spannorm_theory.comparing.page import cells, remark
from spannorm_theory.comparing.sorting import columns
from spannorm_theory.comparing.words import factor, number, times
from spannorm_theory.moments.position_tokens import PositionTokens

SIZE = {"depth": 24, "width": 64, "heads": 4, "tokens": 8}
SMALL = {"depth": 3, "width": 128, "heads": 4, "tokens": 8, "loss": "cross-entropy", "vocabulary": 500}
THREE = ["pre-norm", "post-norm", "span-norm@depth-scaled-init"]


@pytest.fixture(scope="module")
def found() -> st.Comparison:
    return st.compare(THREE, sort_by="given", laws=False, **SIZE)


def profile(table: pd.DataFrame, quantity: str, stream: str = "0") -> np.ndarray:
    rows = table[(table["quantity"] == quantity) & (table["stream"] == stream)]
    return rows.sort_values("layer")["value"].to_numpy()


@pytest.mark.exact
@pytest.mark.parametrize("place", range(3))
def test_a_row_is_what_pandas_reads_of_predictions(found: st.Comparison, place: int) -> None:
    name, _, rule = THREE[place].partition("@")
    row, arch = found.table.iloc[place], st.Architecture(name, rule or "unit", **SIZE)
    table = st.predict(arch)
    gradient, cosine = profile(table, "grad_variance"), profile(table, "token_cosine")
    assert row["squared_gradient"] == pytest.approx(gradient[0], rel=1e-9)
    assert row["gradient_ratio"] == pytest.approx(gradient.max() / gradient.min(), rel=1e-9)
    for mark in (0.5, 0.9):
        first = next((layer for layer, c in enumerate(cosine) if c > mark), None)
        value = row[f"cosine_above_{mark}"]
        assert isnan(value) if first is None else value == first
    assert row["token_cosine"] == cosine[-1]
    assert row["variance"] == pytest.approx(profile(table, "variance")[-1], rel=1e-9)
    assert row["branch_share"] == profile(table, "branch_share")[-1]
    for matrix in ("attn.query", "ffn.down"):
        norms = profile(table, "weight_grad_norm", matrix)
        assert row[f"weight_ratio {matrix}"] == pytest.approx(norms[-1] / norms[0], rel=1e-9)
    logged = st.expected(arch.with_(loss="cross-entropy"))
    assert row["loss"] == pytest.approx(logged["loss"], rel=1e-9)
    assert row["logit_variance"] == pytest.approx(logged["logit_second_moment"], rel=1e-9)
    assert row["global_gradient_norm"] == pytest.approx(logged["global_grad_norm"], rel=1e-9)
    assert (row["candidate"], row["theory"]) == (f"{name}@{rule or 'unit'}", "pair")


def test_the_order_is_what_is_asked_for(found: st.Comparison) -> None:
    names = [text.partition("@")[0] for text in THREE]

    def order(sort_by: str) -> list[str]:
        return st.compare(THREE, sort_by=sort_by, laws=False, **SIZE).table["placement"].tolist()

    ratios = dict(zip(names, found.table["gradient_ratio"], strict=True))
    assert order("gradient") == sorted(names, key=lambda name: ratios[name])
    shares = dict(zip(names, found.table["branch_share"], strict=True))
    assert order("branch_share") == sorted(names, key=lambda name: -shares[name])
    everything = st.compare(THREE[:1], networks=3, **{**SIZE, "depth": 3}).table
    known = columns([st.Architecture("pre-norm", **SIZE)], laws=True, networks=True)
    assert set(known) == set(everything.columns)  # and so all can be asked for
    ends = dict(zip(names, found.table["weight_ratio ffn.up"], strict=True))
    assert order("weight_ratio ffn.up") == sorted(names, key=lambda name: ends[name])
    assert [text.partition("@")[0] for text in found.sentences] == names


def test_sentences_say_the_numbers(found: st.Comparison) -> None:
    pre, post, span = found.sentences
    row = found.table.iloc[1]
    assert f"tokens are one vector from block {row['cosine_above_0.9']:.0f} (cosine above 0.9)" in post
    assert pre.startswith("pre-norm@unit: squared gradient falls to 1/")
    assert "squared gradient flat, within a factor of 1" in span
    assert f"variance {found.table['variance'][0]:.1f} at the top" in pre
    assert found.summary().endswith("\n".join(found.sentences))
    assert "<li>post-norm@unit" in found._repr_html_()


@pytest.mark.statistical
def test_networks_agree_with_the_theory() -> None:
    found = st.compare("span-norm@depth-scaled-init", networks=24, laws=False, **SMALL)
    row = found.table.iloc[0]
    for name in ("squared_gradient", "token_cosine", "branch_share", "loss", "logit_variance"):
        assert abs(row[f"{name}_mc"] - row[name]) < 4.5 * row[f"{name}_se"], name
    assert row["global_gradient_norm_mc"] == pytest.approx(row["global_gradient_norm"], rel=0.05)
    assert 0 < row["global_gradient_norm_se"] < 0.05 * row["global_gradient_norm"]
    assert found.networks == 24


@pytest.mark.reference
def test_laws_are_those_of_the_atlas() -> None:
    found = st.compare("post-norm", **SIZE).table.iloc[0]
    cell = st.atlas("post-norm", "unit", **SIZE).table.iloc[0]
    assert found["gradient_law"] == cell["gradient"] != ""
    assert found["gradient_from"] == cell["gradient_from"]
    assert found["forward_law"] == cell["forward"]


def test_no_law_is_said_with_what_was_fitted() -> None:
    assert text_of(Found(None, "no closed form", Trend(power=0.97, fitted=True))) == "no law (fitted: L^0.97)"
    assert text_of(Found(None, "no closed form", None)) == "no law"


def test_a_model_gives_its_fields_rule_and_head() -> None:
    found = st.compare(["pre-norm", "post-norm@unit"], like="gpt2", laws=False, depth=2, tokens=8)
    assert set(found.table["candidate"]) == {"pre-norm@gpt2", "post-norm@unit"}
    assert set(found.table["width"]) == {768}
    assert set(found.table["theory"]) == {"sampled"}
    trained = st.model("gpt2", depth=2, tokens=8, loss="cross-entropy").arch
    row = found.table[found.table["placement"] == "pre-norm"].iloc[0]
    assert row["loss"] == pytest.approx(st.expected(trained)["loss"], rel=1e-12)


def test_a_candidate_has_fields_of_its_own() -> None:
    texts = ["pre-norm@unit depth=5", "pre-norm ffn_ratio=2", "post-norm unit ffn_width=96", "pre-norm"]
    found = st.compare(texts, laws=False, sort_by="given", **SIZE)
    assert [str(arch) for arch in found.architectures] == [
        str(st.Architecture(name, "unit", **{**SIZE, **own}))
        for name, own in (
            ("pre-norm", {"depth": 5}),
            ("pre-norm", {"ffn_ratio": 2}),
            ("post-norm", {"ffn_width": 96}),
            ("pre-norm", {}),
        )
    ]
    assert found.table["candidate"].tolist() == [
        "pre-norm@unit depth=5 ffn_ratio=4.0",
        "pre-norm@unit depth=24 ffn_ratio=2",
        "post-norm@unit ffn_width=96",
        "pre-norm@unit depth=24 ffn_ratio=4.0",
    ]
    of_model = st.compare("pre-norm mask=none tokens=4", like="gpt2", laws=False, depth=2, tokens=8)
    assert of_model.architectures[0] == st.model("gpt2", depth=2, tokens=4, mask="none").arch


def test_the_theory_is_that_of_predict() -> None:
    fields = {"depth": 2, "width": 256, "heads": 2, "tokens": 2048, "mask": "causal", "logit_variance": 100.0}
    found = st.compare(["pre-norm", "post-norm qk_norm=True"], laws=False, sort_by="given", **fields)
    refused = r"beyond those of the table.*theory='sampled' takes about"
    with pytest.raises(AssumptionError, match=refused):
        st.predict(st.Architecture("pre-norm", **fields))
    assert re.search(refused, found.table["problem"][0])
    assert found.sentences[0].startswith("pre-norm@unit: not predicted: ")
    asked = st.compare("pre-norm", laws=False, theory="sampled", **{**fields, "tokens": 16})
    assert asked.table["theory"].tolist() == ["sampled"]


def test_what_a_stopped_theory_has_reached_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers in front of the one that is refused are those of the whole theory."""
    fields = {"depth": 30, "width": 256, "heads": 4, "tokens": 64, "mask": "causal"}
    whole = st.predict(st.Architecture("post-norm", **fields), theory="positions")
    cosine, variance = profile(whole, "token_cosine"), profile(whole, "variance")
    attend, stopped = PositionTokens.attend, 20

    def refusing(self, attention, gram, gains, layer):  # type: ignore[no-untyped-def]
        if layer == stopped:
            raise PositionsError(f"cosines of positions pass 1 at layer {layer}")
        return attend(self, attention, gram, gains, layer)

    monkeypatch.setattr(PositionTokens, "attend", refusing)
    found = st.compare("post-norm", laws=False, theory="positions", **fields)
    (row,) = found.table.to_dict("records")
    first = int(np.argmax(cosine > 0.5))
    assert 0 < first <= stopped
    assert row["cosine_above_0.5"] == first
    assert np.isnan([row["token_cosine"], row["variance"], row["squared_gradient"], row["loss"]]).all()
    (said,) = found.sentences
    assert f"variance {variance[stopped]:.3g} at block {stopped}; no gradient: cosines of positions" in said
    axes = found.figure().axes
    assert [len([x for x in ax.lines if x.get_label() != "_leader"]) for ax in axes] == [0, 1]


@pytest.mark.filterwarnings("error")
def test_a_placement_without_attention_has_no_columns_of_it(registries: None) -> None:
    @st.placement("only-ffn", title="Only ffn", source="this test")
    def only_ffn(x, net):  # type: ignore[no-untyped-def]
        return net.norm(net.add(x, net.ffn(x)))

    found = st.compare("only-ffn", laws=False, **SIZE)
    assert {name for name in found.table if name.startswith("weight_ratio")} == {
        "weight_ratio ffn.up",
        "weight_ratio ffn.down",
    }
    assert "; no attention; token" in found.sentences[0]
    with pytest.raises(UnknownNameError, match="weight_ratio ffn"):
        st.compare("only-ffn", laws=False, sort_by="weight_ratio attn.query", **SIZE)


def test_near_names_of_an_order_are_said_once() -> None:
    with pytest.raises(UnknownNameError) as error:
        st.compare("pre-norm", sort_by="varianc", **SIZE)
    assert str(error.value).count("did you mean variance or") == 1
    assert "variance or variance" not in str(error.value)


def test_a_small_embedding_is_said_with_its_numbers() -> None:
    """The gradient at the embedding over that behind block 1, and that block's weights, of tables."""
    arch = st.Architecture("pre-norm", **SIZE, input_variance=4e-4)
    (said,) = st.compare(arch, laws=False).sentences
    table = st.predict(arch.with_(loss="cross-entropy"))
    variance = profile(table, "variance")
    norms = table[table["quantity"] == "weight_grad_norm"]
    total = st.expected(arch.with_(loss="cross-entropy"))["global_grad_norm"] ** 2
    share = norms[norms["layer"] == 0]["value"].sum() / total
    assert "the embedding (std 0.02) is small" in said
    assert f"makes the stream {round(variance[1] / variance[0], -2):,.0f} times larger" in said
    assert f"has {100 * share:.2g} % of the squared global gradient norm" in said
    assert "std" not in st.compare(arch.with_(input_variance=1.0), laws=False).sentences[0]


def test_large_ratios_are_powers_of_ten() -> None:
    assert (factor(130.0), factor(800.0), factor(log(30))) == ("10^56", "10^347", "30")
    assert (times(130.0), times(-130.0), times(-log(40))) == ("10^56 times", "10^-56", "1/40")


def test_candidates_that_share_a_placement_are_told_apart() -> None:
    archs = [st.Architecture("pre-norm", **{**SIZE, "depth": depth}) for depth in (3, 6)]
    found = st.compare(
        [*archs, archs[0].with_(loss="cross-entropy", inputs="uniform", vocabulary=500)], laws=False
    )
    assert "pre-norm@unit depth=6 inputs=gaussian vocabulary=32000" in set(found.table["candidate"])
    assert found.figure().axes[1].get_xlabel() == "relative depth $l/L$"


def test_what_is_not_predicted_is_said_and_comes_last() -> None:
    blocks = {"depth": 400, "width": 64, "heads": 4, "tokens": 8}
    found = st.compare(["no-norm", "pre-norm"], laws=False, init=0.9, **blocks)
    assert found.table["placement"].tolist() == ["pre-norm", "no-norm"]
    assert "float64's range" in found.table["problem"][1]
    assert found.sentences[1].startswith("no-norm@unit: not predicted: the forward variance leaves")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: st.compare([]), InputError, "expected at least one candidate"),
        (lambda: st.compare("pre-nrm"), UnknownNameError, "did you mean pre-norm"),
        (lambda: st.compare("pre-norm@gpt3"), UnknownNameError, "did you mean gpt2"),
        (lambda: st.compare(["pre-norm", "pre-norm@unit"]), InputError, "given twice"),
        (lambda: st.compare("pre-norm", sort_by="los"), UnknownNameError, "did you mean loss"),
        (lambda: st.compare("pre-norm", like="llama-3"), UnknownNameError, "did you mean llama-3"),
        (lambda: st.compare("pre-norm", layers=3), InputError, "depth"),
        (lambda: st.compare("pre-norm", scaling="unit"), InputError, "leave scaling= out"),
        (lambda: st.compare("pre-norm", networks=2), InputError, "networks must be"),
        (lambda: st.compare([3]), InputError, "expected a candidate"),
        (lambda: st.compare("pre-norm@"), InputError, "expected a scaling rule .* behind the @"),
        (lambda: st.compare("pre-norm,ffn_ratio=2"), InputError, "such as 'pre-norm gpt2 depth=24'"),
        (lambda: st.compare("pre-norm depht=2"), UnknownNameError, "did you mean depth"),
        (lambda: st.compare("pre-norm", theory="position"), UnknownNameError, "did you mean positions"),
        (lambda: st.compare("pre-norm", like=3), InputError, "name of a model"),
    ],
)
def test_bad_candidates_are_named(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_every_logarithm_has_a_number() -> None:
    logs = [inf, -inf, nan, 800.0, -800.0, log(1234.5)]
    assert [number(one) for one in logs] == ["inf", "0", "unknown", "2.7e347", "3.7e-348", "1,230"]


def test_a_model_that_no_candidate_takes_is_refused() -> None:
    with pytest.raises(InputError, match="candidates that are texts"):
        st.compare([st.Architecture("pre-norm", depth=2)], like="gpt2")


def test_what_is_off_the_theory_is_marked_and_explained() -> None:
    row = {
        "candidate": "x",
        "depth": 8,
        "width": 64,
        "variance": 1.0,
        "log_variance": 0.0,
        "token_cosine": 0.1,
    }
    near, far = (
        {**row, "variance_mc": mean, "variance_se": se} for mean, se in ((1 + 1e-9, 1e-12), (2, 0.1))
    )
    assert cells(pd.DataFrame([near, far]))[1:] == [["x", "1 (1)"], ["x", "1 (2 ± 0.1)*"]]
    assert remark(pd.DataFrame([near])) == ""
    assert "L/d = 0.12 is the usual reason" in remark(pd.DataFrame([near, far]))
