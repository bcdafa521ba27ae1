"""Figures of the theory and its checks: depth profiles, rank collapse, comparisons, block diagrams."""

from .diagram import block_diagram
from .multiples import comparison, weight_gradients
from .phase import phase_diagram
from .profiles import depth_profile, rank_collapse
from .style import placement_style, save

__all__ = [
    "block_diagram",
    "comparison",
    "depth_profile",
    "phase_diagram",
    "placement_style",
    "rank_collapse",
    "save",
    "weight_gradients",
]
