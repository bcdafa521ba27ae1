"""The architecture that a module should be: said by the user, or by the module's own configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from ..base.errors import InputError, SpannormError, shown
from ..models.named import named
from ..models.reader import from_config
from ..models.registry import published
from ..spec.architecture import Architecture


def expectation(expected: Any, model: nn.Module, tokens: int) -> tuple[Architecture, str] | None:
    """The expected architecture at ``tokens``, and where it comes from in words; None where nothing says it.

    Args:
        expected: an architecture, its text form, the name of a published model, the path of a configuration,
        or
            None for the module's own ``config``.

    Raises:
        InputError: nothing that says an architecture.
    """
    if isinstance(expected, Architecture):
        return expected.with_(tokens=tokens), _rule(expected)
    if isinstance(expected, str):
        if expected in published() or Path(expected).exists():
            found = named(expected, tokens)
            return found.arch, found.name
        arch = Architecture.parse(expected)
        return arch.with_(tokens=tokens), _rule(arch)
    if expected is not None:
        raise InputError(
            "expected must be an Architecture, its text form, the name of a published model or the path of a "
            f"configuration, got {shown(expected)}"
        )
    config = getattr(model, "config", None)
    if not hasattr(config, "to_dict"):
        return None
    try:
        read = from_config(config, tokens)
    except SpannormError:  # a family that is not known
        return None
    return read.arch, f"{read.name}'s configuration"


def _rule(arch: Architecture) -> str:
    return f"{arch.scaling} at init={arch.init}" if arch.scaling != "unit" else f"init={arch.init}"
