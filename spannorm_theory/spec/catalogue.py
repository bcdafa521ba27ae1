"""The registries as read-only mappings from name to entry."""

from __future__ import annotations

from collections.abc import Mapping

from ..gaussian.activations import ACTIVATIONS, Activation
from .placements import PLACEMENTS, Placement
from .scalings import SCALINGS, ScalingRule


def placements() -> Mapping[str, Placement]:
    """Every registered norm placement, by name.

    Source: each entry's own ``source``.

    Returns:
        a read-only mapping from name to entry, with ``title``, ``source``, ``year``, ``streams``,
        ``options``, ``scaling`` (published with it) and ``doc``; unknown names are refused with the nearest.

    Raises:
        UnknownNameError: no such name, when the mapping is asked for it.

    Example:
        >>> import spannorm_theory as st
        >>> st.placements()["span-norm"].source
        'arXiv:2601.22580'
    """
    return PLACEMENTS


def scalings() -> Mapping[str, ScalingRule]:
    """Every registered scaling rule, by name.

    Source: each entry's own ``source``.

    Returns:
        a read-only mapping from name to entry, with ``title``, ``source``, ``year``, ``only`` and ``doc``;
        names joined by a plus sign are the product of rules.

    Raises:
        UnknownNameError: no such name, when the mapping is asked for it.

    Example:
        >>> import spannorm_theory as st
        >>> st.scalings()["gpt2"].title
        'output projections / sqrt(2L)'
    """
    return SCALINGS


def activations() -> Mapping[str, Activation]:
    """Every registered activation, by name.

    Source: each entry's own ``source``.

    Returns:
        a read-only mapping from name to entry, with ``title``, ``source``, ``function``, ``kernel`` and
        ``gated``.

    Raises:
        UnknownNameError: no such name, when the mapping is asked for it.

    Example:
        >>> import spannorm_theory as st
        >>> st.activations()["swiglu"].gated
        True
    """
    return ACTIVATIONS
