"""Laws that cells share, how they travel, and the caveats that a cell states."""

from __future__ import annotations

import pickle
from math import log
from typing import Any

import pytest
from sympy import Rational, exp

import spannorm_theory as st
from spannorm_theory.asymptotics import laws
from spannorm_theory.asymptotics.coupled_streams import coupled_law
from spannorm_theory.atlases import known
from spannorm_theory.atlases.cell import compute
from spannorm_theory.atlases.check import DEPTHS
from spannorm_theory.atlases.records import OK, SHOWN
from spannorm_theory.atlases.trend import evaluate
from spannorm_theory.base import symbols
from spannorm_theory.derivation.iteration import Iteration
from spannorm_theory.moments.constant_gains import GAINS as GAIN_SYMBOLS

GAINS = (0.5, 0.4, 0.9, 0.6)


@pytest.mark.exact
def test_values_of_cells_that_share_their_laws_are_their_own() -> None:
    """Rules that differ in logits alone have one law, and each its values beside it."""
    rules = ("unit", "inverse-layer-logits")
    cells = [compute(st.Architecture("pre-norm", rule, tokens=16), (4,), 30.0) for rule in rules]
    for cell in cells:
        table = st.predict(cell.arch.with_(depth=12))
        expected = log(st.value_at(table, "grad_variance", layer=0))
        assert cell.found["gradient"].at[12] == pytest.approx(expected, rel=1e-9)
    assert cells[0].found["gradient"].at[12] > cells[1].found["gradient"].at[12] + 0.2


@pytest.mark.exact
@pytest.mark.parametrize(
    ("placement", "one", "other"),
    [
        ("pre-norm", "depth-scaled-init", "deepnorm-init"),
        ("post-norm", "unit", "small-init"),
        ("span-norm", "gpt2", "depth-mup"),
        ("no-norm", "layerscale-18", "layerscale-24"),
    ],
)
def test_shared_laws_are_those_of_each_rule(placement: str, one: str, other: str) -> None:
    first, second = st.derive(placement, one), st.derive(placement, other)
    keys = [Iteration(recursion).key(DEPTHS[-1]) for recursion in (first, second)]
    assert keys[0][0] == keys[1][0]
    assert keys[0][1] != keys[1][1]
    known.known(first, GAINS, GAINS)
    found, _, problems = known.known(second, GAINS, GAINS)
    assert not problems
    own = {
        "forward": laws.moment_law(second, (0, 0)),
        "ratio": laws.ratio_law(second),
        "gradient": laws.embedding_law(second),
        "collapse": laws.collapse_law(second),
        "identity": laws.identity_law(second, 0),
    }
    for name, law in own.items():
        trend, expected = found[name].trend, evaluate(law, GAINS)
        assert trend is not None
        for number in ("factorial", "rate", "power", "log_power", "constant", "root"):
            value = getattr(expected, number)
            assert getattr(trend, number) == pytest.approx(value, rel=1e-9, abs=1e-13, nan_ok=True)


@pytest.mark.exact
@pytest.mark.parametrize(
    ("placement", "one", "other"),
    [
        ("residual", "layer-index", "ds-init-code"),
        ("siamese-norm", "unit", "layerscale-18"),
        ("siamese-norm-hybrid-pre", "layer-index", "mitchell"),
    ],
)
def test_branches_that_several_streams_read_share_their_factor(placement: str, one: str, other: str) -> None:
    """A factor behind a branch or in its last matrix is the same, to all streams that add it with the same
    relative weights."""
    first, second = st.derive(placement, one), st.derive(placement, other)
    (key, factors), (same, others) = (Iteration(r).key(DEPTHS[-1]) for r in (first, second))
    assert key == same
    scaled = [float(factor / other) for factor, other in zip(factors * 2, others * 2, strict=True)]
    gains = [scale * gain for scale, gain in zip(scaled, GAINS, strict=True)]
    stacks = Iteration(first).run(64, GAINS), Iteration(second).run(64, tuple(gains))  # type: ignore[arg-type]
    ends = [stack.ends() for stack in stacks]
    for name in SHOWN:
        assert getattr(ends[0], name) == pytest.approx(getattr(ends[1], name), rel=1e-10, abs=1e-13)


@pytest.mark.exact
def test_stacks_that_differ_in_more_than_a_factor_share_nothing() -> None:
    keys = {
        rule: Iteration(st.derive("pre-norm", rule)).key(DEPTHS[-1])[0] for rule in ("unit", "gpt2", "wang")
    }
    assert len(set(keys.values())) == len(keys)


@pytest.mark.exact
def test_gamma_functions_of_large_numbers_keep_their_digits() -> None:
    """ln of the constant is a difference of numbers of order 1e13."""
    law, gains = coupled_law(st.derive("hyper-connections", "layerscale-36")), (1.0, 0.4375, 1.0, 0.46875)
    exact = {gain: Rational(value) for gain, value in zip(GAIN_SYMBOLS, gains, strict=True)}
    constant = law.constant.subs({**exact, symbols.initial_variance: 1})
    assert evaluate(law, gains).constant == pytest.approx(float(exp(constant).evalf(30, maxn=400)), rel=1e-12)


@pytest.mark.exact
def test_a_law_arrives_as_it_was_written() -> None:
    law = laws.ratio_law(st.derive("parallel-post", "layer-index"))
    written = str(law)
    assert "/2)" in str(law.shape)  # one fraction, which building it anew would multiply out
    arrived = pickle.loads(pickle.dumps(law))
    assert arrived == law
    assert str(arrived) == written


def test_a_law_that_sets_in_late_is_found_so_for_its_own_factors() -> None:
    shown, early, late = (
        known.known(st.derive("pre-norm", rule), GAINS, GAINS)[0]
        for rule in ("unit", "layerscale-18", "layerscale-36")
    )
    assert not any(found[name].late for found in (shown, early) for name in SHOWN)
    assert late["forward"].late
    assert late["forward"].status == OK
    assert late["forward"].trend is not None
    assert log(late["forward"].trend.constant) < -log(DEPTHS[-1])


@pytest.mark.parametrize(
    ("placement", "fields", "words"),
    [
        ("dyt", {}, "an element-wise function in a norm's place"),
        ("no-norm", {}, "inputs of branches leave float64's range"),
        (
            "siamese-norm-hybrid-pre",
            {"scaling": "deepnorm-init"},
            "no law of gradient, collapse: fitted up to",
        ),
        ("pre-norm", {"logit_variance": 100.0}, "attention is nearly a maximum at L = 16"),
        ("no-norm", {"activation": "swiglu"}, "no bound that holds for every token correlation"),
    ],
)
def test_caveats_name_the_limit_that_applies(placement: str, fields: dict[str, Any], words: str) -> None:
    arch = st.Architecture(placement, depth=16, **fields)
    assert any(words in caveat for caveat in compute(arch, (16,), 30.0).caveats)


def test_a_cell_within_every_limit_has_no_caveat() -> None:
    assert compute(st.Architecture("post-norm", depth=16), (16,), 30.0).caveats == ()
