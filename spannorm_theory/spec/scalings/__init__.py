"""The published scaling rules, each one short function."""

from ..scaling import SCALINGS, Multipliers, ScalingRule, scaling

with SCALINGS.shipping():
    from . import forward, initialisation, skips

__all__ = ["SCALINGS", "Multipliers", "ScalingRule", "forward", "initialisation", "scaling", "skips"]
