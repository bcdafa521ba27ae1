"""Relations: each kind holds, is contradicted, is undecided in noise, and turns over when negated."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import rounded

from spannorm_theory.base.errors import InputError
from spannorm_theory.literature.measure import Measure, Term, exponent_weights
from spannorm_theory.spec.architecture import Architecture
from spannorm_theory.verification.relation import CONTRADICTED, HOLDS, KINDS, UNDECIDED, region

#: relation -> expected values, an estimate inside, one outside
CASES = {
    "about": ((2.0,), 2.05, 2.5),
    "predicted": ((2.0,), 1.95, 1.0),
    "below": ((2.0,), 1.0, 3.0),
    "above": ((2.0,), 3.0, 1.0),
    "between": ((1.0, 2.0), 1.5, 2.5),
}


@pytest.mark.exact
@pytest.mark.parametrize("kind", KINDS)
def test_a_relation_and_its_negation_exclude_each_other(kind: str) -> None:
    values, inside, outside = CASES[kind]
    for negated in (False, True):
        accepted = region(kind, values, 0.1, False, negated)
        yes, no = (CONTRADICTED, HOLDS) if negated else (HOLDS, CONTRADICTED)
        assert accepted.decide(inside, 0.001, 16) == yes
        assert accepted.decide(outside, 0.001, 16) == no
        assert accepted.decide(inside, 10.0, 16) == UNDECIDED
        assert accepted.decide(np.nan, 0.001, 16) == UNDECIDED


@pytest.mark.exact
def test_few_networks_need_a_wider_margin_and_exponents_an_absolute_one() -> None:
    accepted = region("below", (2.0,), 0.0, False, False)
    assert accepted.decide(1.0, 0.2, 64) == HOLDS
    assert accepted.decide(1.0, 0.2, 3) == UNDECIDED
    assert region("about", (-2.0,), 0.1, True, False).low == -2.1
    assert region("about", (-2.0,), 0.1, False, False).high == -1.8
    with pytest.raises(InputError, match="unknown relation"):
        region("near", (1.0,), 0.1, False, False)


ARCH = Architecture("post-norm", depth=4, width=32, heads=2, tokens=8)


def _samples(seed: int = 0, networks: int = 400) -> dict[tuple[str, str], np.ndarray]:
    noise = np.random.default_rng(seed).normal(0, 0.2, (networks, 5))
    layers = np.arange(5)
    return {
        ("0", "variance"): np.log(3.0) + 2 * np.log(np.maximum(layers, 1)) + noise - 0.02,
        ("0", "token_cosine"): 0.5 + 0.1 * noise,
    }


@pytest.mark.reference
def test_measures_are_means_ratios_and_slopes() -> None:
    samples = _samples()
    plain = Measure((Term(ARCH, "variance", "0", 2),)).estimate(lambda arch: samples)
    values = np.exp(samples["0", "variance"][:, 2])
    assert plain.value == rounded(values.mean())
    assert plain.error == rounded(values.std(ddof=1) / 20)
    cosine = Measure((Term(ARCH, "token_cosine", "0", -1),)).estimate(lambda arch: samples)
    assert cosine.value == rounded(samples["0", "token_cosine"][:, 4].mean())
    ratio = Measure((Term(ARCH, "variance", "0", 4), Term(ARCH, "variance", "0", 2, -1.0)))
    found = ratio.estimate(lambda arch: samples)
    assert abs(found.value - 4) < 4 * found.error
    assert found.error == pytest.approx(4 * 0.2 * np.sqrt(2 / 400), rel=0.1)
    same = Measure((Term(ARCH, "variance", "0", 4), Term(ARCH, "variance", "0", 4, -1.0)))
    assert same.estimate(lambda arch: samples).error == pytest.approx(0, abs=1e-12)
    weights = exponent_weights(np.array([1.0, 2.0, 4.0]))
    terms = tuple(Term(ARCH, "variance", "0", l, w) for l, w in zip((1, 2, 4), weights, strict=True))
    slope = Measure(terms, exponent=True).estimate(lambda arch: samples)
    assert abs(slope.value - 2) < 4 * slope.error < 0.1


@pytest.mark.exact
def test_what_cannot_be_measured_is_refused() -> None:
    samples = _samples()
    for term, text in (
        (Term(ARCH, "variance", "3", 0), "has no variance"),
        (Term(ARCH, "variance", "0", 9), "layers 0 to 4"),
    ):
        with pytest.raises(InputError, match=text):
            Measure((term,)).estimate(lambda arch: samples)
    with pytest.raises(InputError, match="at least 3 networks"):
        Measure((Term(ARCH, "variance", "0", 0),)).estimate(lambda arch: _samples(networks=2))
