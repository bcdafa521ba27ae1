"""A stack iterated in floating point does what the formulas of its blocks say."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import GAINS, NAMED, SYMBOLS, rounded

from spannorm_theory import Recursion, derive
from spannorm_theory.base import symbols
from spannorm_theory.base.errors import AssumptionError, InputError
from spannorm_theory.derivation.iteration import Iteration
from spannorm_theory.moments.one_token import Step

DEPTH = 8


def block(recursion: Recursion, l: int) -> Step:
    """The formulas of a block; of mix-ln the first quarter is wired in another way."""
    early = recursion.before is not None and l < DEPTH // 4
    which = recursion.before if early and recursion.before is not None else recursion
    return which.first if l == 0 else which.block


@pytest.mark.exact
@pytest.mark.parametrize("name", ["post-norm", "keel", "mix-ln", "siamese-norm", "no-norm", "derf"])
def test_it_does_what_formulas_say(name: str) -> None:
    recursion = derive(name, "layer-index")
    at = recursion.iterate(DEPTH, **NAMED, q0=0.5, gamma_out=2.0).set_index(["quantity", "stream", "layer"])
    logs = at["log_value"]
    values = {**SYMBOLS, symbols.depth: DEPTH}
    pairs = recursion.block.pairs
    states, places = [dict.fromkeys(pairs, 0.5)], []
    for l in range(DEPTH):
        step = block(recursion, l)
        places.append({**values, symbols.layer: l, **{step.moment(*p): q for p, q in states[-1].items()}})
        states.append({p: float(f.subs(places[-1])) for p, f in step.forward.items()})
    readout = recursion.readout
    last = {readout.moment(*p): q for p, q in states[-1].items()}
    gradients = [2.0 * np.array(readout.backward_matrix[:, 0].subs(last), dtype=float)[:, 0]]
    identity = [np.zeros(pairs[-1][0] + 1)]
    for l in range(DEPTH - 1, -1, -1):
        step = block(recursion, l)
        gradients.insert(0, np.array(step.backward_matrix.subs(places[l]), dtype=float) @ gradients[0])
        gains = [float(gain.subs(places[l])) for gain in step.identity]
        identity.insert(0, identity[0] + np.log(gains))
    for k, (i, j) in enumerate(pairs):
        stream = str(i) if i == j else f"{i}{j}"
        for l in range(DEPTH + 1):
            assert logs["variance", stream, l] == pytest.approx(np.log(states[l][i, j]), abs=1e-10)
            assert logs["grad_variance", stream, l] == pytest.approx(np.log(gradients[l][k]), abs=1e-10)
            if i == j:
                assert logs["identity_gain", stream, l] == pytest.approx(identity[l][i], abs=1e-10)


@pytest.mark.exact
@pytest.mark.parametrize("name", ["post-norm", "siamese-norm", "no-norm"])
def test_its_ends_are_those_of_all_layers(name: str) -> None:
    """And differences of one stream follow the factor of 1 - rho."""
    recursion = derive(name, "layer-index")
    logs = recursion.iterate(DEPTH, **NAMED, q0=0.5).set_index(["quantity", "stream", "layer"])["log_value"]
    ends = Iteration(recursion).run(DEPTH, GAINS, q0=0.5).ends()
    for s, (forward, identity) in enumerate(zip(ends.forward, ends.identity, strict=True)):
        assert forward == pytest.approx(logs["variance", str(s), DEPTH] - np.log(0.5), abs=1e-12)
        assert identity == pytest.approx(logs["identity_gain", str(s), 0], abs=1e-12)
    if len(ends.forward) == 1:
        expected = logs["grad_variance", "0", 0] - logs["grad_variance", "0", DEPTH]
    else:
        first = {s: np.exp(logs["grad_variance", s, 0]) for s in ("0", "01", "1")}
        expected = np.log(first["0"] + 2 * first["01"] + first["1"])
    assert ends.gradient == pytest.approx(expected, abs=1e-12)


@pytest.mark.exact
def test_streams_and_gradients_may_leave_the_range_of_floating_point() -> None:
    table = derive("no-norm").iterate(5000, sigma_a2=1, sigma_f2=1, omega_a2=0.5, omega_f2=1)
    at = table.set_index(["quantity", "layer"])
    assert at.loc[("variance", 5000), "log_value"] == rounded(5000 * np.log(4))
    assert at.loc[("grad_variance", 0), "log_value"] == rounded(5000 * np.log(3))
    assert at.loc[("variance", 5000), "value"] == np.inf


def test_what_is_no_depth_or_gain_is_refused() -> None:
    recursion = derive("pre-norm")
    for wrong in ({"depth": 0}, {"depth": 2.5}, {"sigma_a2": -1.0}, {"q0": 0.0}, {"gamma_out": np.inf}):
        with pytest.raises(InputError):
            recursion.iterate(**{"depth": 3, **NAMED, **wrong})
    with pytest.raises(AssumptionError, match="range"):
        Iteration(derive("dyt")).run(3, GAINS, q0=1e-80)


def test_gains_of_which_a_norm_reads_zeros_are_refused() -> None:
    recursion = derive("sandwich", "branch-sqrt-depth")
    with pytest.raises(AssumptionError, match="reads what is always zero by these gains"):
        recursion.iterate(1, sigma_a2=0, sigma_f2=0, omega_a2=0, omega_f2=0)
    with pytest.raises(AssumptionError, match="left float64's range"):
        recursion.iterate(1, sigma_a2=0, sigma_f2=0, omega_a2=0, omega_f2=0, q0=5e-324)
