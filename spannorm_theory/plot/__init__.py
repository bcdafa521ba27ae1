"""Figures of the theory and its checks: profiles, comparisons, laws, maps, spectra, residuals, diagrams."""

from .canvas.marks import placement_style
from .canvas.paper import save, style
from .caption import caption
from .coordinate import coordinate_check
from .diagram.diagram import block_diagram
from .distribution import distribution
from .explorer import Explorer, overview
from .finite_width import finite_width
from .law import against_law
from .multiples import comparison, weight_gradients
from .panels import panels
from .phase import phase_diagram, phase_map
from .plane import branch_map
from .positions import position_profile
from .profiles import depth_profile, rank_collapse
from .residuals import residuals
from .spectrum import spectrum

__all__ = [
    "Explorer",
    "against_law",
    "block_diagram",
    "branch_map",
    "caption",
    "comparison",
    "coordinate_check",
    "depth_profile",
    "distribution",
    "finite_width",
    "overview",
    "panels",
    "phase_diagram",
    "phase_map",
    "placement_style",
    "position_profile",
    "rank_collapse",
    "residuals",
    "save",
    "spectrum",
    "style",
    "weight_gradients",
]
