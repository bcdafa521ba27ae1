"""Later blocks of long runs are solved, not iterated: to what iterating gives, or not at all."""

from collections.abc import Callable, Sequence
from math import exp, inf, log, tanh
from typing import Any

import numpy as np
import pytest
from spannorm_theory.moments.block import OutOfRange
from spannorm_theory.prediction.collocation import FIRST, POINTS, Points, collocated

from spannorm_theory import Architecture
from spannorm_theory.base.errors import AssumptionError
from spannorm_theory.gaussian.closed_forms import Array
from spannorm_theory.prediction import forward as passes
from spannorm_theory.prediction.boundary import input_moments
from spannorm_theory.prediction.forward import PERIODS, _runs, forward
from spannorm_theory.prediction.predict import predict_profiles
from spannorm_theory.prediction.stack import Stack

ONE = [(0, 0)]

Toy = Callable[[float, int], float]


class Counted:
    """A block of one stream whose second moment moves by a rule; tokens stay as they are."""

    def __init__(self, rule: Toy) -> None:
        self.rule, self.calls = rule, 0

    def __call__(self, state: Sequence[float], given: tuple[float]) -> tuple[list[float], list[float]]:
        self.calls += 1
        q, delta = state
        behind = self.rule(q, round(given[0]))
        return [behind, delta * behind / q], [behind, delta]


def solved(rule: Toy, layers: int = 936) -> tuple[Any, Array, int]:
    """What is found of ``layers`` blocks behind ``FIRST`` others, what iterating finds, and evaluations."""
    q = [1.0]
    for layer in range(FIRST + layers):
        q.append(rule(q[-1], layer))
    states = np.stack([q, np.array(q) / 2], axis=1)
    block = Counted(rule)
    numbers = [[np.arange(FIRST, FIRST + layers, dtype=float)]]
    return collocated(block, ONE, states[: FIRST + 1], numbers), states[FIRST:], block.calls


@pytest.mark.exact
@pytest.mark.parametrize(
    "rule",
    [
        lambda q, l: q + 1,
        lambda q, l: q * (1 + 1 / (l + 1)),
        lambda q, l: 0.6 * q + 0.3,
        lambda q, l: q * exp(0.3),
        lambda q, l: q + 1 / q,
        lambda q, l: q + 1 / (l + 1) ** 2,
    ],
    ids=["linear", "power", "fixed-point", "exponential", "root", "convergent"],
)
def test_smooth_recursions_are_solved_in_a_fraction_of_the_blocks(rule: Toy) -> None:
    found, iterated, calls = solved(rule)
    states, outs, behind = found
    assert np.log(states) == pytest.approx(np.log(iterated[:-1]), abs=1e-8)
    assert np.log(outs[:, 0]) == pytest.approx(np.log(iterated[1:, 0]), abs=1e-8)
    assert behind == pytest.approx(iterated[-1], rel=1e-8)
    assert calls < 936 / 4


@pytest.mark.exact
@pytest.mark.parametrize(
    "rule",
    [
        lambda q, l: q * (1 + 1e-3 * (-1) ** l),
        lambda q, l: q * (1.001 if l < 400 else 1.01),
        lambda q, l: q + 0.01 * (1 + tanh(40 * (log(q) - 2))),
        lambda q, l: 3.9 * (q / 4) * (1 - q / 4) * 4,
        lambda q, l: 0.97 * q + 0.3,
    ],
    ids=["alternating", "other-gains", "switch", "chaos", "slow-fixed-point"],
)
def test_what_is_not_smooth_is_left_to_iteration_or_right(rule: Toy) -> None:
    found, iterated, _ = solved(rule)
    if found is not None:
        assert np.log(found[0]) == pytest.approx(np.log(iterated[:-1]), abs=1e-3)


@pytest.mark.exact
def test_gains_that_leave_the_polynomial_between_the_points_are_seen() -> None:
    layers = np.arange(936.0)
    points = Points.of(FIRST, 936)
    assert len(points.at) == POINTS
    smooth = (FIRST + layers)[:, None] ** [-0.5, -1.0]
    assert points.carry(smooth)
    for layer in set(range(936)) - set(points.at.tolist()):
        rough = smooth.copy()
        rough[layer, 1] *= 1.05
        assert not points.carry(rough), layer


@pytest.mark.exact
@pytest.mark.parametrize("error", [OutOfRange, ZeroDivisionError, IndexError, AssumptionError("V")])
def test_blocks_that_refuse_a_state_on_the_way_are_left_to_iteration(error: Any) -> None:
    def rule(q: float, layer: int) -> float:
        if q > 500:
            raise error
        return q + 1 if q < 450 else q

    found, *_ = solved(rule)
    assert found is None


@pytest.mark.exact
@pytest.mark.parametrize(("q", "delta"), [(1.0, 0.0), (1.0, -0.1), (inf, 0.5)])
def test_states_without_logarithms_are_left_to_iteration(q: float, delta: float) -> None:
    block = Counted(lambda q, _: q)
    before = np.tile([q, delta], (FIRST + 1, 1))
    assert collocated(block, ONE, before, [[np.arange(600.0)]]) is None


CELLS = [
    ("pre-norm", "unit", {}),
    ("pre-norm", "lns", {"experts": 8, "top_k": 2}),
    ("post-norm", "unit", {}),
    ("span-norm", "depth-scaled-init", {"experts": 8, "top_k": 2}),
    ("mix-ln", "unit", {}),
    ("siamese-norm", "small-init", {}),
    ("residual", "ds-init", {"input_cosine": 0.9}),
    ("residual", "unit", {"activation": "swiglu", "init": "unit-branch", "input_cosine": 0.99}),
    ("hyper-connections", "lns", {}),
    ("dyt", "unit", {"experts": 8, "top_k": 2}),
    ("deepnorm", "wang", {}),
]


@pytest.mark.exact
@pytest.mark.parametrize(("placement", "scaling", "options"), CELLS)
def test_a_deep_stack_is_what_its_blocks_make_of_it(
    placement: str, scaling: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is predicted; branch shares of 1e-8 are differences of second moments."""
    arch = Architecture(placement, scaling, depth=1000, **options)
    solutions: list[bool] = []

    def watched(*arguments: Any) -> Any:
        found = collocated(*arguments)
        solutions.append(found is not None)
        return found

    monkeypatch.setattr(passes, "collocated", watched)
    here = predict_profiles(arch).profiles
    monkeypatch.setattr(passes, "collocated", lambda *_: None)
    there = predict_profiles(arch).profiles
    assert any(solutions)
    for key, profile in there.items():
        assert here[key] == pytest.approx(profile, rel=1e-5, abs=3e-8, nan_ok=True), key


@pytest.mark.exact
def test_a_solved_stack_takes_few_evaluations_of_its_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = Stack.of(arch := Architecture("pre-norm", depth=1000))
    attention = stack.segments[0].components[0]
    calls = 0

    class Watched:
        takes = attention.takes

        @staticmethod
        def transfer(*arguments: float) -> tuple[float, float]:
            nonlocal calls
            calls += 1
            return attention.transfer(*arguments)

    stack.segments[0].components[0] = Watched()  # type: ignore[call-overload]
    forward(stack, input_moments(arch))
    assert FIRST < calls < 300


@pytest.mark.exact
def test_a_variance_that_leaves_the_range_is_refused_at_the_layer_where_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refusal() -> str:
        with pytest.raises(AssumptionError, match="at layer") as caught:
            predict_profiles(Architecture("no-norm", depth=1000))
        return str(caught.value)

    here = refusal()
    monkeypatch.setattr(passes, "collocated", lambda *_: None)
    assert here == refusal()


@pytest.mark.exact
@pytest.mark.parametrize("begin", [0, 3])
@pytest.mark.parametrize(
    ("order", "longest"),
    [
        ([0] * 50, (0,)),
        ([0] + [1] * 49, (1,)),
        ([0, 1] * 25, (0, 1)),
        ([0, 2, 1] * 15 + [2] * 5, (0, 1, 2)),
        ([0, 0, 1] * 15, ()),
        ([0, 1, 2, 3, 4] * 9, ()),
        ([int(digit) for n in range(18) for digit in f"{n:b}"], ()),
    ],
)
def test_runs_are_the_order_of_the_layers(order: list[int], longest: tuple[int, ...], begin: int) -> None:
    runs = list(_runs(order, begin, 8))
    assert [wiring for wirings, turns in runs for wiring in list(wirings) * turns] == order[begin:]
    assert all(len(wirings) in PERIODS and turns > 0 for wirings, turns in runs)
    long = {tuple(sorted(wirings)) for wirings, turns in runs if turns >= 8}
    assert long == ({longest} if longest else set())
