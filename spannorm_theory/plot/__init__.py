"""Figures of the theory and its checks: profiles, comparisons, spectra, residuals, block diagrams."""

from .canvas.marks import placement_style
from .canvas.paper import save, style
from .diagram.diagram import block_diagram
from .distribution import distribution
from .explorer import Explorer, overview
from .multiples import comparison, weight_gradients
from .panels import panels
from .phase import phase_diagram
from .positions import position_profile
from .profiles import depth_profile, rank_collapse
from .residuals import residuals
from .spectrum import spectrum

__all__ = [
    "Explorer",
    "block_diagram",
    "comparison",
    "depth_profile",
    "distribution",
    "overview",
    "panels",
    "phase_diagram",
    "placement_style",
    "position_profile",
    "rank_collapse",
    "residuals",
    "save",
    "spectrum",
    "style",
    "weight_gradients",
]
