"""The atlas: every placement under every scaling rule, its laws checked, in one table."""

from .build import Atlas, atlas

__all__ = ["Atlas", "atlas"]
