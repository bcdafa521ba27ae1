"""Numeric bounds hold inside the whole box of gains, not only at its corners."""

from __future__ import annotations

import numpy as np
import pytest

from spannorm_theory import Architecture, derive, symbols
from spannorm_theory.definitions.placements import PLACEMENTS, STANDARD
from spannorm_theory.theory.bounds import bounds, gain_intervals
from spannorm_theory.theory.iterate import Compiled
from spannorm_theory.theory.predict import predict_profiles


@pytest.mark.exact
@pytest.mark.parametrize("causal", [False, True])
def test_any_attention_weights_stay_inside(causal: bool) -> None:
    """Random weights between uniform and one-hot, token Grams of non-negative entries, all equal included."""
    n, rng = 7, np.random.default_rng(0)
    for trial in range(300):
        x, g = (np.abs(rng.standard_normal((n, n))) ** rng.choice([0.1, 1, 4]) for _ in range(2))
        gram, grad = x @ x.T, g @ g.T
        scale = np.sqrt(np.diag(gram))
        gram = gram / np.outer(scale, scale) if trial % 3 else np.ones((n, n))
        logits = rng.standard_normal((n, n)) * rng.choice([0.0, 1.0, 30.0])
        if trial % 2:
            logits[:, 0] += 20  # all rows read one key
        if causal:
            logits[np.triu_indices(n, 1)] = -np.inf
        a = np.exp(logits - logits.max(axis=1, keepdims=True))
        a /= a.sum(axis=1, keepdims=True)
        m = [np.diag(row) - np.outer(row, row) for row in a]
        gamma = np.trace(grad)
        assert gamma / n <= np.trace(a.T @ grad @ a) * (1 + 1e-12)
        assert np.trace(a.T @ grad @ a) <= n * gamma * (1 + 1e-12)
        forward = np.diag(a @ gram @ a.T)
        assert (forward >= 1 / n - 1e-12).all()
        assert (forward <= 1 + 1e-12).all()
        assert max(np.trace(j @ gram @ j @ gram) for j in m) <= 1
        pairs = [grad[i, k] * gram[i, k] * np.trace(m[i] @ gram @ m[k]) for i in range(n) for k in range(n)]
        assert sum(pairs) <= n * gamma


@pytest.mark.exact
@pytest.mark.parametrize(
    ("name", "mask"), [("no-norm", "none"), ("pre-norm", "causal"), ("span-norm", "causal")]
)
def test_the_theory_is_inside_its_bounds(name: str, mask: str) -> None:
    arch = Architecture(name, "depth-scaled-init", depth=4, width=256, heads=4, tokens=16, mask=mask)
    profiles, limits = predict_profiles(arch).profiles, bounds(arch)
    assert {(str(s), "grad_variance") for s in range(PLACEMENTS[name].streams)} <= set(limits)
    for key, (low, high) in limits.items():
        assert (low - 0.02 <= profiles[key]).all(), key
        assert (profiles[key] <= high + 0.02).all(), key
    assert bounds(Architecture("no-norm", depth=2, width=64, activation="swiglu")) == {}


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
