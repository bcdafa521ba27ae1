"""Streams that stay copies of each other are found, and carried as one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import spannorm_theory as st
from spannorm_theory.bounds.intervals import bounds
from spannorm_theory.moments.copies import copies
from spannorm_theory.prediction import stack
from spannorm_theory.prediction.predict import predict_profiles
from spannorm_theory.prediction.stack import Stack


@pytest.fixture
def _three(registries: None) -> None:
    def readout(streams: Any, net: Any) -> Any:
        return net.norm(streams[0] + streams[1] + streams[2])

    @st.placement("three", title="two copies and a normed stream", source="test", streams=3, readout=readout)
    def three(streams: Any, net: Any) -> Any:
        """The first two take the same, in another order; the third is normed."""
        x, y, z = streams
        a = net.attention(net.norm(x + z))
        f = net.ffn(net.norm(net.add(y, a)))
        return net.add(net.add(x, f), a), net.add(net.add(y, a), f), net.norm(net.add(z, f))


@pytest.mark.exact
@pytest.mark.usefixtures("_three")
@pytest.mark.parametrize(
    ("placement", "places"),
    [
        ("pre-norm", (0,)),
        ("siamese-norm", (0, 1)),
        ("residual", (0, 1)),
        ("hyper-connections", (0, 0, 0, 0)),
        ("three", (0, 0, 1)),
    ],
)
def test_classes(placement: str, places: tuple[int, ...]) -> None:
    assert copies(st.Architecture(placement, depth=8).traces) == places


@pytest.mark.exact
@pytest.mark.usefixtures("_three")
@pytest.mark.parametrize("placement", ["hyper-connections", "three"])
@pytest.mark.parametrize("mask", ["none", "causal"])
def test_one_for_all_is_each_by_itself(placement: str, mask: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions, gradients and spectra among them, in both theories, and bounds."""
    arch = st.Architecture(placement, "ds-init", depth=5, width=64, heads=4, tokens=8, mask=mask)
    joint, limits = predict_profiles(arch).profiles, bounds(arch)
    streams = arch.definition.streams
    assert len(Stack.of(arch).step.firsts) < streams
    monkeypatch.setattr(stack, "copies", lambda traces: tuple(range(streams)))
    assert len(Stack.of(arch).step.firsts) == streams
    apart = predict_profiles(arch).profiles
    assert joint.keys() == apart.keys()
    for key, profile in apart.items():
        np.testing.assert_allclose(joint[key], profile, rtol=1e-10, atol=1e-12, err_msg=str(key))
    each = bounds(arch)
    assert limits.keys() == each.keys()
    for key, (low, high) in each.items():  # of one stream for all they may be closer
        assert (limits[key][0] >= low - 1e-12).all()
        assert (limits[key][1] <= high + 1e-12).all()


@pytest.mark.exact
def test_gradients_of_copies_differ() -> None:
    """Each of the four is read by another sublayer."""
    table = st.predict(st.Architecture("hyper-connections", depth=6))
    first = (table["quantity"] == "grad_variance") & (table["layer"] == 0) & (table["stream"] != "input")
    grads = table[first]["value"].to_numpy()
    assert len(np.unique(grads.round(9))) == 4


@pytest.mark.exact
def test_wirings_that_do_the_same_are_one() -> None:
    assert len(st.Architecture("pre-norm", depth=5).traces) == 1  # it does not ask which block is the first
    assert st.Architecture("hyper-connections", depth=5).wirings[1] == (0, 1, 0, 1, 0)
    assert st.Architecture("peri-ln", depth=5).wirings[1] == (0, 1, 1, 1, 1)
    entry = st.Architecture("pre-norm", depth=5).definition
    first, later, other = entry.trace("unit", first=True), entry.trace("unit"), entry.trace("small-init")
    assert first is not later
    assert first == later != other
    assert hash(first) == hash(later) != hash(other)
