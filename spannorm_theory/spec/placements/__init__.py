"""The published norm placements, each one short function."""

from ..placement import PLACEMENTS, Placement, placement

with PLACEMENTS.shipping():
    from . import branch, earlier, gates, parallel, post, pre, streams, substitutes

#: what a report compares when nothing is asked for
STANDARD = (
    "no-norm",
    "pre-norm",
    "post-norm",
    "span-norm",
    "hybrid-norm",
    "hybrid-norm-star",
    "siamese-norm",
    "siamese-norm-hybrid-pre",
)

__all__ = [
    "PLACEMENTS",
    "STANDARD",
    "Placement",
    "branch",
    "earlier",
    "gates",
    "parallel",
    "placement",
    "post",
    "pre",
    "streams",
    "substitutes",
]
