"""Compiled derivatives of a block's step against differences of its functions."""

from __future__ import annotations

import numpy as np
import pytest

from spannorm_theory.prediction.boundary import input_moments
from spannorm_theory.prediction.forward import forward
from spannorm_theory.prediction.stack import Stack
from spannorm_theory.spec.architecture import Architecture


@pytest.mark.reference
@pytest.mark.parametrize("placement", ["span-norm", "siamese-norm", "hyper-connections", "normformer"])
def test_derivatives_are_those_of_the_step(placement: str) -> None:
    stack = Stack.of(Architecture(placement, "depth-scaled-init", depth=6, width=64, heads=2, tokens=16))
    forward(stack, input_moments(Architecture(placement)) * stack.pairs)
    for segment in stack.segments:
        step, known, branches = segment.step, segment.known.T, len(segment.components)
        moments, drops = step.differential(known, segment.multipliers)
        functions = [*step.branch_inputs, step.outputs]
        assert len(moments) == branches + 1
        assert len(drops) == branches + stack.pairs
        for i, function in enumerate(functions):
            takes = 2 * (stack.pairs + i)
            rows = [*moments[i], *(g for g in drops[branches + 1 :] if i == branches)]
            places = [0, 1, *range(3, 2 * stack.pairs, 2)]
            for at in range(takes):
                ways = np.stack([known[:takes], known[:takes]])
                ways[:, at] += np.array([[1e-5], [-1e-5]]) * known[at]
                up, down = (function(*way, *segment.multipliers) for way in ways)
                for place, gradient in zip(places, rows, strict=False):
                    if place > 1 and at % 2 == 0:  # of other pairs the drops' in drops alone
                        continue
                    slope = (up[place] - down[place]) / (2e-5 * known[at])
                    expected = gradient.get(at, 0.0) + np.zeros_like(known[at])
                    np.testing.assert_allclose(slope, expected, rtol=1e-6, atol=1e-7)
                    assert (at in gradient) == bool(np.any(expected))
