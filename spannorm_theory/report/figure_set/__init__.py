"""The standard set of figures for a paper, each with the recipe that makes it again."""

from .recipe import Recipe, files_of
from .write import remake, write_figures

__all__ = ["Recipe", "files_of", "remake", "write_figures"]
