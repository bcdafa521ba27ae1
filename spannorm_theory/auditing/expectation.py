"""The architecture that a module should be: said by the user, or by the module's own configuration."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import nn

from ..base.errors import InputError, SpannormError, UnknownNameError, shown
from ..models.model import Model
from ..models.named import named
from ..models.reader import from_config
from ..models.registry import published
from ..spec.architecture import Architecture
from ..spec.fields import Fields
from ..spec.placements import PLACEMENTS
from .probed import OF_TRAINING


def expectation(expected: Any, model: nn.Module, tokens: int) -> tuple[Architecture, str] | None:
    """The expected architecture at ``tokens``, and where it comes from in words; None where nothing says it.

    Args:
        expected: an architecture, its text form, a published model or its name, the path of a configuration,
            or None for the module's own ``config``.

    Raises:
        InputError: nothing that says an architecture.
    """
    if expected is not None:
        arch, source = stated(expected)
        return _as_probed(arch.with_(tokens=tokens)), source
    config = getattr(model, "config", None)
    if not hasattr(config, "to_dict"):
        return None
    try:
        read = from_config(config, tokens)
    except SpannormError:  # a family that is not known
        return None
    return read.arch, f"{read.name}'s configuration"


def stated(expected: Any) -> tuple[Architecture, str]:
    """The architecture that is stated, and how it is called in words.

    Raises:
        InputError: nothing that says an architecture.
    """
    if isinstance(expected, Architecture):
        return expected, _rule(expected)
    if isinstance(expected, Model):
        return expected.arch, expected.name
    if not isinstance(expected, str):
        raise InputError(
            "expected must be an Architecture, its text form, a published model or its name, or the path of "
            f"a configuration, got {shown(expected)}"
        )
    if expected in published() or Path(expected).exists():
        found = named(expected)
        return found.arch, found.name
    try:
        arch = Architecture.parse(expected)
    except UnknownNameError:
        if " " in expected.strip():
            raise
        raise UnknownNameError("placement or model", expected, [*PLACEMENTS, *published()]) from None
    return arch, _rule(arch)


def _as_probed(arch: Architecture) -> Architecture:
    """The architecture as a probe measures it: one sequence, a random gradient at the output, no dropout."""
    plain = {f.name: f.default for f in fields(Fields)}
    unread = OF_TRAINING if arch.reads_ids else (*OF_TRAINING, "vocabulary")
    return arch.with_(**{name: plain[name] for name in unread})


def _rule(arch: Architecture) -> str:
    return f"{arch.scaling} at init={arch.init}" if arch.scaling != "unit" else f"init={arch.init}"
