"""Numeric bounds hold inside the whole box of gains, not only at its corners."""

from __future__ import annotations

import numpy as np
import pytest

from spannorm_theory import Architecture, derive, symbols
from spannorm_theory.definitions.placements import PLACEMENTS, STANDARD
from spannorm_theory.theory.bounds import bounds, gain_intervals
from spannorm_theory.theory.iterate import Compiled


@pytest.mark.exact
@pytest.mark.parametrize("scaling", ["unit", "depth-scaled-init", "layer-index"])
@pytest.mark.parametrize("name", [n for n in STANDARD if n != "no-norm"])
def test_random_gains_in_every_layer_stay_inside(name: str, scaling: str) -> None:
    arch = Architecture(name, scaling, depth=8, width=512, tokens=32)
    intervals = gain_intervals(arch)
    assert intervals is not None
    limits = bounds(arch)
    recursion = derive(name, scaling)
    pairs = recursion.block.pairs
    rng = np.random.default_rng(0)
    draw = {
        symbol: interval
        for kind, which in intervals.items()
        for symbol, interval in zip(symbols.GAINS[kind], which, strict=True)
    }
    for _ in range(10):
        blocks = []
        for l in range(arch.depth):
            gains = {s: float(rng.uniform(*interval)) for s, interval in draw.items()}
            blocks.append(Compiled(recursion.block if l else recursion.first, gains, arch.depth))
        states = [[1.0] * len(pairs)]
        for l, block in enumerate(blocks):
            states.append(list(block.forward(states[-1], l)))
        known = {recursion.readout.moment(*p): x for p, x in zip(pairs, states[-1], strict=True)}
        gradient = np.array([float(m.subs(known)) for m in recursion.readout.backward_matrix[:, 0]])
        gradients = [gradient]
        for l in range(arch.depth - 1, -1, -1):
            matrix = np.array(blocks[l].backward(states[l], l)).reshape(blocks[l].shape)
            gradients.append(matrix @ gradients[-1])
        for s in range(PLACEMENTS[name].streams):
            at = pairs.index((s, s))
            for quantity, values in (("variance", states), ("grad_variance", gradients[::-1])):
                low, high = limits[str(s), quantity]
                logs = np.log([v[at] for v in values])
                assert (low - 1e-9 <= logs).all()
                assert (logs <= high + 1e-9).all()
