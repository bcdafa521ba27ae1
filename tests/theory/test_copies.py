"""Streams that stay copies of each other are found, and carried as one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import spannorm_theory as st
from spannorm_theory.definitions.placements import PLACEMENTS
from spannorm_theory.theory.copies import copies
from spannorm_theory.theory.predict import predict_pair
from spannorm_theory.theory.segment import Segment
from spannorm_theory.theory.stack import Stack, forward, network_spread, pair_spread


@pytest.fixture
def _three() -> Iterator[None]:
    def readout(streams: Any, net: Any) -> Any:
        return net.norm(streams[0] + streams[1] + streams[2])

    @st.placement("three", title="two copies and a normed stream", source="test", streams=3, readout=readout)
    def three(streams: Any, net: Any) -> Any:
        """The first two take the same, in another order; the third is normed."""
        x, y, z = streams
        a = net.attention(net.norm(x + z))
        f = net.ffn(net.norm(net.add(y, a)))
        return net.add(net.add(x, f), a), net.add(net.add(y, a), f), net.norm(net.add(z, f))

    yield
    del PLACEMENTS._entries["three"]


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
def test_one_for_all_is_each_by_itself(placement: str) -> None:
    arch = st.Architecture(placement, "ds-init", depth=7, width=64, heads=4, tokens=8)
    merged = predict_pair(arch).profiles
    streams = arch.definition.streams
    traces, order = arch.wirings
    layers = [np.flatnonzero(np.equal(order, i)).astype(float) for i in range(len(traces))]
    apart = tuple(range(streams))
    each = Stack([Segment.of(arch, t, apart, l) for t, l in zip(traces, layers, strict=True)], order)
    assert len(Stack.of(arch).step.pairs) < each.pairs == streams * (streams + 1) // 2
    last = forward(each, (1.0, 1.0) * each.pairs)
    spreads = pair_spread(each, 1 / arch.width, arch.width)
    network_spread(each, arch.width)
    own = [2 * each.step.pairs.index((s, s)) for s in range(streams)]
    known = each.over_layers(lambda s: s.known)
    for s, at in enumerate(own):
        q, delta = np.append(known[:, at], last[at]), np.append(known[:, at + 1], last[at + 1])
        np.testing.assert_allclose(merged[str(s), "variance"], np.log(q), rtol=0, atol=1e-13)
        np.testing.assert_allclose(merged[str(s), "token_cosine"], 1 - delta / q, rtol=0, atol=1e-13)
    here = Stack.of(arch)
    forward(here, (1.0, 1.0) * here.pairs)
    joint = pair_spread(here, 1 / arch.width, arch.width)
    expected = [joint[here.step.own[place]] for place in here.step.places]
    np.testing.assert_allclose([spreads[at // 2] for at in own], expected, rtol=1e-12)


@pytest.mark.exact
def test_gradients_of_copies_differ() -> None:
    """Each of the four is read by another sublayer."""
    table = st.predict(st.Architecture("hyper-connections", depth=6))
    grads = table[(table["quantity"] == "grad_variance") & (table["layer"] == 0)]["value"].to_numpy()
    assert len(np.unique(grads.round(9))) == 4


@pytest.mark.exact
def test_wirings_that_do_the_same_are_one() -> None:
    assert len(st.Architecture("pre-norm", depth=5).traces) == 1  # it does not ask which block is the first
    assert st.Architecture("hyper-connections", depth=5).wirings[1] == (0, 1, 0, 1, 0)
    assert st.Architecture("peri-ln", depth=5).wirings[1] == (0, 1, 1, 1, 1)
    arch = st.Architecture("pre-norm", depth=5)
    first, later, other = arch.block(0), arch.block(3), arch.with_(scaling="small-init").block(3)
    assert first is not later
    assert first == later != other
    assert hash(first) == hash(later) != hash(other)
