"""The published scaling rules, each one short function."""

from ..scaling import SCALINGS, Multipliers, ScalingRule, scaling

with SCALINGS.shipping():
    from . import families, forward, initialisation, libraries, skips

__all__ = [
    "SCALINGS",
    "Multipliers",
    "ScalingRule",
    "families",
    "forward",
    "initialisation",
    "libraries",
    "scaling",
    "skips",
]
