"""Numeric bounds hold inside the whole box of gains, not only at its corners."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spannorm_theory import Architecture, derive, placement
from spannorm_theory.base import symbols
from spannorm_theory.bounds.intervals import bounds, forward_box
from spannorm_theory.moments.constant_gains import GAINS, Wiring
from spannorm_theory.prediction.predict import predict_profiles
from spannorm_theory.spec.placements import PLACEMENTS, STANDARD


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
    ("name", "scaling", "fields"),
    [
        ("no-norm", "depth-scaled-init", {}),
        ("pre-norm", "depth-scaled-init", {"mask": "causal"}),
        ("span-norm", "depth-scaled-init", {"mask": "causal"}),
        ("output-norm", "unit", {"activation": "swiglu"}),
        ("olmo2", "unit", {"activation": "geglu"}),
        ("no-norm", "fixup", {"activation": "swiglu"}),
        ("no-norm", "t-fixup", {"activation": "swiglu"}),
        ("ln-scaling", "unit", {}),
        ("pre-norm", "lns", {"activation": "swiglu"}),
        ("post-norm", "ds-init", {}),
        ("dyt", "unit", {}),
        ("derf", "depth-scaled-init", {"activation": "swiglu"}),
        ("derf", "unit", {"mask": "causal"}),
        ("pre-norm", "deepscalelm", {"dropout": 0.2}),
        # a gradient that all tokens share is carried to the keys that all of them see
        ("no-norm", "unit", {"mask": "causal", "loss": "mean", "activation": "relu", "input_cosine": 0.9}),
        ("no-norm", "depth-scaled-init", {"qkv_norm": True, "activation": "linear"}),
        ("parallel-pre", "deepscalelm", {"qkv_norm": True}),
    ],
)
def test_the_theory_is_inside_its_bounds(name: str, scaling: str, fields: dict[str, Any]) -> None:
    arch = Architecture(name, scaling, depth=4, width=256, heads=4, tokens=16).with_(**fields)
    profiles, limits = predict_profiles(arch).profiles, bounds(arch)
    assert {(str(s), "grad_variance") for s in range(PLACEMENTS[name].streams)} <= set(limits)
    for key, (low, high) in limits.items():
        assert (low <= high + 1e-12).all(), key
        assert (low - 0.02 <= profiles[key]).all(), key
        assert (profiles[key] <= high + 0.02).all(), key


@pytest.mark.exact
def test_a_gated_branch_that_squares_its_stream_has_no_bounds() -> None:
    assert bounds(Architecture("no-norm", depth=40, width=64, tokens=16, activation="swiglu")) == {}


RANDOM = [(n, s, "gelu") for n in STANDARD for s in ("unit", "depth-scaled-init", "layer-index")]
RANDOM += [("output-norm", "unit", "swiglu"), ("no-norm", "depth-scaled-init", "swiglu")]
RANDOM += [("derf", "ds-init", "gelu"), ("dyt", "unit", "swiglu"), ("ln-scaling", "ds-init", "gelu")]


@pytest.mark.exact
@pytest.mark.parametrize(("name", "scaling", "activation"), RANDOM)
def test_random_gains_in_every_layer_stay_inside(name: str, scaling: str, activation: str) -> None:
    arch = Architecture(name, scaling, depth=4, width=512, tokens=16, activation=activation)
    box = forward_box(arch)
    assert box is not None
    limits = bounds(arch)
    recursion = derive(name, scaling)
    pairs = recursion.block.pairs
    rng = np.random.default_rng(0)
    for _ in range(10):
        blocks = []
        for l, intervals in enumerate(box.gains):
            gains = {
                symbol: float(rng.uniform(*interval))
                for branch, which in zip(box.block(l).branches, intervals, strict=True)
                if not branch.elementwise
                for symbol, interval in zip(symbols.GAINS[branch.kind], which, strict=True)
            }
            trace = (recursion.block if l else recursion.first).trace
            blocks.append(Wiring(trace, tuple(gains[gain] for gain in GAINS), arch.depth))  # type: ignore[arg-type]
        states = [np.ones(len(pairs))]
        for l, block in enumerate(blocks):
            states.append(np.array(block.stepper(np.array([float(l)]))(states[-1], 0)))
        gradients = [Wiring(recursion.readout.trace, (1.0,) * 4, arch.depth).gradient(states[-1])]
        for l in range(arch.depth - 1, -1, -1):
            matrix = blocks[l].at(states[l][None], np.array([float(l)]))[0][0]
            gradients.append(matrix @ gradients[-1])
        for s in range(PLACEMENTS[name].streams):
            at = pairs.index((s, s))
            for quantity, values in (("variance", states), ("grad_variance", gradients[::-1])):
                low, high = limits[str(s), quantity]
                logs = np.log([v[at] for v in values])
                assert (low - 1e-9 <= logs).all()
                assert (logs <= high + 1e-9).all()


@pytest.mark.exact
def test_branches_that_read_nothing_have_no_bounds() -> None:
    """One block of DeepScaleLM's skips the stream with factor 0, and Swin v2's branches start at 0."""
    assert bounds(Architecture("swin-v2", "deepscalelm", depth=1, activation="swiglu")) == {}


@pytest.mark.exact
def test_strong_logits_over_few_keys_leave_lower_bounds_positive() -> None:
    """At a logit variance of 4,096 and two keys, whose overlaps change within 1/4096 of rho = 1."""
    arch = Architecture("mix-ln", depth=30, heads=2, tokens=2, init=0.5, activation="linear")
    box = forward_box(arch)
    assert box is not None
    assert min(interval[0] for gains in box.gains for gain in gains for interval in gain) > 0
    low, high = bounds(arch)["0", "grad_variance"]
    assert np.isfinite(low).all()
    assert (low < high).all()


@pytest.mark.usefixtures("registries")
def test_streams_that_are_subtracted_have_bounds_forward_only() -> None:
    @placement(
        "subtracted",
        title="Subtracted",
        source="a test",
        streams=2,
        readout=lambda x, net: net.norm(x[0] - x[1]),
    )
    def subtracted(x: Any, net: Any) -> Any:
        a, b = x
        h = net.attention(net.norm(a - b / 2))
        return a + h, b - a / 2 + net.ffn(net.norm(b + h))

    with np.errstate(divide="raise", invalid="raise"):
        found = bounds(Architecture("subtracted", depth=4, width=96, heads=4, tokens=12))
    assert {quantity for _, quantity in found} == {"variance"}
    assert all((low <= high).all() for low, high in found.values())
