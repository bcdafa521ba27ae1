"""Linear recursions as one triangular system."""

import numpy as np
import pytest

from spannorm_theory import Architecture
from spannorm_theory.base.errors import AssumptionError
from spannorm_theory.prediction import stack as stacks
from spannorm_theory.prediction.affine import iterated
from spannorm_theory.prediction.boundary import input_moments, input_spread
from spannorm_theory.prediction.forward import forward
from spannorm_theory.prediction.stack import Stack, pair_spread


@pytest.mark.exact
@pytest.mark.parametrize("size", [1, 2, 3, 6, 20])
@pytest.mark.parametrize("layers", [1, 50])
@pytest.mark.parametrize("adds", [False, True])
def test_the_recursion_is_what_a_loop_makes_of_it(size: int, layers: int, adds: bool) -> None:
    rng = np.random.default_rng(size)
    maps, start = rng.normal(size=(layers, size, size)) / size, rng.normal(size=size)
    added = rng.normal(size=(layers, size)) if adds else np.zeros((layers, size))
    states = [start]
    for step, more in zip(maps, added, strict=True):
        states.append(step @ states[-1] + more)
    found = iterated(maps, start, added if adds else None)
    assert found == pytest.approx(np.array(states), rel=1e-12, abs=1e-12)


@pytest.mark.exact
def test_what_overflows_leaves_the_layers_in_front_as_they_are() -> None:
    found = iterated(np.full((400, 1, 1), 10.0), np.ones(1))
    assert found[:300, 0] == pytest.approx(10.0 ** np.arange(300))
    assert not np.isfinite(found[310:]).any()


@pytest.mark.exact
@pytest.mark.parametrize(
    ("placement", "options"),
    [("pre-norm", {}), ("siamese-norm", {"experts": 8, "top_k": 2}), ("mix-ln", {}), ("dyt", {"experts": 4})],
)
def test_v_of_every_layer_is_what_its_block_makes_of_the_one_in_front(
    placement: str, options: dict[str, int]
) -> None:
    """Newton's method solves the recursion of V; here it is put in."""
    arch = Architecture(placement, "depth-scaled-init", depth=200, **options)
    stack = Stack.of(arch)
    forward(stack, input_moments(arch) * stack.pairs)
    last = pair_spread(stack, input_spread(arch), arch.width)
    streams = np.vstack([stack.over_layers(lambda segment: segment.spread.streams), last])
    assert streams[0] == pytest.approx(input_spread(arch))
    behind = stack.over_layers(lambda segment: segment.spread.passed(segment.spread.streams)[0])
    assert behind == pytest.approx(streams[1:], rel=1e-9)
    assert np.ptp(streams) > 0


@pytest.mark.exact
def test_v_that_does_not_settle_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    arch = Architecture("pre-norm", depth=40)
    stack = Stack.of(arch)
    forward(stack, input_moments(arch))
    monkeypatch.setattr(stacks, "ROUNDS", 1)
    with pytest.raises(AssumptionError, match="does not settle in 1 steps"):
        pair_spread(stack, input_spread(arch), arch.width)
