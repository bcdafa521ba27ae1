"""Several streams: one that the readout ignores, one that is zero, and the gradient at the embedding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import spannorm_theory as st
from spannorm_theory import Architecture, predict, simulate, verify
from spannorm_theory.spec.placements import PLACEMENTS
from spannorm_theory.spec.scalings import SCALINGS

SHAPE = {"depth": 12, "width": 256, "heads": 8, "tokens": 32}


@pytest.fixture(autouse=True)
def _placements() -> Iterator[None]:
    def first(streams: Any, net: Any) -> Any:
        return net.norm(streams[0])

    def block(x: Any, net: Any) -> Any:
        x = net.add(x, net.attention(net.norm(x)))
        return net.add(x, net.ffn(net.norm(x)))

    with PLACEMENTS.temporarily():

        @st.placement("value-mix", title="1.1 x + 0.2 x0", source="test", streams=2, readout=first)
        def value_mix(streams: Any, net: Any) -> Any:
            """Each block takes a part of the embedding again."""
            return block(1.1 * streams[0] + 0.2 * streams[1], net), streams[1]

        @st.placement("zero-mix", title="x + 0 x0", source="test", streams=2, readout=first)
        def zero_mix(streams: Any, net: Any) -> Any:
            """Nothing of the second stream is used."""
            return block(streams[0] + 0 * streams[1], net), streams[1]

        @st.placement("zero-stream", title="x, and nothing", source="test", streams=2, readout=first)
        def zero_stream(streams: Any, net: Any) -> Any:
            """The second stream is zero behind the first block."""
            return block(streams[0], net), 0 * streams[1]

        yield


def value(arch: Architecture, stream: str, quantity: str, layer: int) -> float:
    table = predict(arch)
    rows = (table["stream"] == stream) & (table["quantity"] == quantity) & (table["layer"] == layer)
    return float(table.loc[rows, "value"].item())


@pytest.mark.reference
def test_a_stream_that_only_blocks_read() -> None:
    """Against plain torch modules with their standard errors."""
    arch = Architecture("value-mix", **SHAPE)
    assert abs(value(arch, "0", "variance", 12) - 79.2) < 3 * 0.5
    assert abs(value(arch, "input", "grad_variance", 0) - 1.071) < 3 * 0.010
    assert value(arch, "1", "grad_variance", 12) == 0


@pytest.mark.exact
@pytest.mark.parametrize("mask", ["none", "causal"])
@pytest.mark.parametrize("placement", ["zero-mix", "zero-stream"])
def test_a_stream_that_nothing_reads_is_pre_norm_beside_it(placement: str, mask: str) -> None:
    shape = {**SHAPE, "depth": 3, "tokens": 12, "mask": mask}
    arch, plain = Architecture(placement, **shape), Architecture("pre-norm", **shape)
    for quantity, layer in (("variance", 3), ("token_cosine", 2), ("grad_variance", 0)):
        ours, theirs = value(arch, "0", quantity, layer), value(plain, "0", quantity, layer)
        if quantity == "grad_variance":  # the readout norms, so gradients are per unit behind it
            ours, theirs = ours / value(arch, "0", quantity, 3), theirs / value(plain, "0", quantity, 3)
        assert ours == pytest.approx(theirs, rel=1e-9)
    assert value(arch, "1", "grad_variance", 0) == 0
    assert value(arch, "input", "grad_variance", 0) == pytest.approx(
        value(arch, "0", "grad_variance", 0), rel=1e-12
    )
    if placement == "zero-stream":
        assert value(arch, "1", "variance", 1) == 0
        assert np.isnan(value(arch, "1", "token_cosine", 1))  # of nothing there is no cosine


@pytest.mark.statistical
@pytest.mark.parametrize("placement", ["value-mix", "zero-stream"])
@pytest.mark.parametrize("mask", ["none", "causal"])
def test_networks_agree(placement: str, mask: str) -> None:
    arch = Architecture(placement, depth=3, width=128, heads=4, tokens=12, mask=mask)
    assert verify(arch, networks=32, progress=False).passed


@pytest.mark.exact
@pytest.mark.reference
@pytest.mark.parametrize("mask", ["none", "causal"])
def test_the_gradient_at_the_embedding_has_its_cross_terms(mask: str) -> None:
    """Streams of hyper-connections whose branches are off stay four copies of the embedding x, and the
    readout is N(4 x) = x: what arrives is the gradient at the output, exactly."""
    with SCALINGS.temporarily():

        @st.scaling("nothing", title="branches x 0", source="test")
        def nothing(sublayer: str, l: Any, L: Any, d: Any) -> st.Multipliers:
            """Branches are off."""
            return st.Multipliers(branch=0)

        arch = Architecture(
            "hyper-connections", "nothing", **{**SHAPE, "tokens": 12, "depth": 3, "mask": mask}
        )
        assert value(arch, "input", "grad_variance", 0) == pytest.approx(1.0, rel=1e-9)
        measured = simulate(arch, networks=4, progress=False).table
        row = measured[measured["stream"] == "input"]
        assert row["layer"].tolist() == [0]
        # of 12 x 256 coordinates of the probe, whose mean square is 1 within 2 (2 / 3072)^(1/2)
        assert row["value"].item() == pytest.approx(1.0, abs=0.1)
