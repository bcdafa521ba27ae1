"""Compiled derivatives of a block's step against differences of its functions."""

from __future__ import annotations

import numpy as np
import pytest

from spannorm_theory.prediction.exchangeable import input_state
from spannorm_theory.prediction.forward import forward
from spannorm_theory.prediction.stack import Stack
from spannorm_theory.spec.architecture import Architecture


@pytest.mark.reference
@pytest.mark.parametrize("placement", ["span-norm", "siamese-norm", "hyper-connections", "normformer"])
def test_derivatives_are_those_of_the_step(placement: str) -> None:
    arch = Architecture(placement, "depth-scaled-init", depth=6, width=64, heads=2, tokens=16)
    stack = Stack.of(arch)
    for wiring in forward(stack, input_state(arch, stack)).wirings:
        step, multipliers = wiring.blocks.step, wiring.blocks.multipliers
        moments, drops = wiring.derivatives
        branches = len(wiring.blocks.components)
        assert len(moments) == branches + 1
        assert len(drops) == branches + stack.pairs
        for i, function in enumerate([*step.branch_inputs, step.outputs]):
            known = stack.pairs + i
            last = i == branches
            # of the outgoing pairs all q come first; of other pairs than the first the drops' in drops alone
            places = [0, stack.pairs, *range(stack.pairs + 1, 2 * stack.pairs)] if last else [0, 1]
            rows = [*moments[i], *(drops[branches + 1 :] if last else [])]
            for moment in ("q", "delta"):
                for source in range(known):
                    ways = {"q": np.stack([wiring.q[:known]] * 2)}
                    ways["delta"] = np.stack([wiring.delta[:known]] * 2)
                    at = ways[moment][0, source].copy()
                    ways[moment][:, source] += np.array([[1e-5], [-1e-5]]) * at
                    up, down = (function(ways["q"][k], ways["delta"][k], multipliers) for k in (0, 1))
                    for row, (place, gradient) in enumerate(zip(places, rows, strict=True)):
                        if row > 1 and moment == "q":
                            continue
                        slope = (up[place] - down[place]) / (2e-5 * at)
                        expected = gradient.get((moment, source), 0.0) + np.zeros_like(at)
                        # central differences of step 1e-5 are right to 1e-10 of a slope, and lose 1e-11/1e-5
                        np.testing.assert_allclose(slope, expected, rtol=1e-6, atol=1e-7)
                        assert ((moment, source) in gradient) == bool(np.any(expected))
