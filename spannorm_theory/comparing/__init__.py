"""Architectures side by side: one table, a sentence for each, and one figure."""

from .comparison import Comparison, compare

__all__ = ["Comparison", "compare"]
