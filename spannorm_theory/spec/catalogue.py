"""The registries as read-only mappings from name to entry."""

from __future__ import annotations

from collections.abc import Mapping

from ..gaussian.activations import ACTIVATIONS, Activation
from .placements import PLACEMENTS, Placement
from .scalings import SCALINGS, ScalingRule


def placements() -> Mapping[str, Placement]:
    """Every registered norm placement, by name."""
    return PLACEMENTS


def scalings() -> Mapping[str, ScalingRule]:
    """Every registered scaling rule, by name."""
    return SCALINGS


def activations() -> Mapping[str, Activation]:
    """Every registered activation, by name."""
    return ACTIVATIONS
