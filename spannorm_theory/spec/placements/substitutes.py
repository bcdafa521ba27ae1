"""Placements that put an element-wise function in the norm's place."""

from __future__ import annotations

from ..graph import Value
from ..net import Net
from ..placement import placement


def _tanh(x: Value, net: Net) -> Value:
    return net.pointwise(x * 0.5, "tanh")


def _erf(x: Value, net: Net) -> Value:
    return net.pointwise(x * 0.5, "erf")


@placement("dyt", title="DyT", source="arXiv:2503.10622", year=2025, readout=_tanh)
def dyt(x: Value, net: Net) -> Value:
    """x + F(tanh(x/2)) twice; tanh(x/2) reads out."""
    x = net.add(x, net.attention(_tanh(x, net)))
    return net.add(x, net.ffn(_tanh(x, net)))


@placement("derf", title="Derf", source="arXiv:2604.11890", year=2026, readout=_erf)
def derf(x: Value, net: Net) -> Value:
    """x + F(erf(x/2)) twice; erf(x/2) reads out."""
    x = net.add(x, net.attention(_erf(x, net)))
    return net.add(x, net.ffn(_erf(x, net)))
