"""Rules between the fields of attention.

A field that would change nothing in its combination is refused, so that no result carries a setting that
it does not depend on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isclose
from typing import Any

from ..base.errors import InputError
from .fields import LOGIT_POWERS, Fields
from .graph import Branch

#: relative difference up to which two logit scales are one
SAME = 1e-12

#: the branches of all blocks, traced when called
Branches = Callable[[], Sequence[Branch]]


def check_attention(arch: Fields, branches: Branches) -> dict[str, Any]:
    """Hold the attention fields against each other; returns those whose value has a shorter equal.

    Raises:
        InputError: a value that no attention has, or that has no effect with the other fields.
    """
    if arch.positions == "rope" and arch.head_size % 2:
        raise InputError(
            f"positions='rope' rotates pairs of coordinates and needs an even head width, got "
            f"{arch.head_size}"
        )
    if arch.qk_norm_over == "width":
        _check_norm_over_width(arch, branches)
    _check_window(arch)
    return {"head_width": _head_width(arch), "kv_heads": _kv_heads(arch), "logit_scale": _logit_scale(arch)}


def _logit_scale(arch: Fields) -> str | float:
    """What q.k is multiplied by; its name where that has one."""
    scale, size = arch.logit_scale, arch.head_size
    if isinstance(scale, str):
        return scale
    named = (name for name, power in LOGIT_POWERS.items() if isclose(scale, size**-power, rel_tol=SAME))
    return next(named, scale)


def _head_width(arch: Fields) -> int | None:
    """Coordinates of a head; None if all heads together are as wide as a stream."""
    return None if arch.heads * arch.head_size == arch.width else arch.head_width


def _kv_heads(arch: Fields) -> int | None:
    """The number of key and value heads; None if every head has its own."""
    value = arch.kv_heads
    if value is not None and arch.heads % value:
        raise InputError(
            f"kv_heads must divide heads (each group of heads shares keys and values), got "
            f"kv_heads={value}, heads={arch.heads}"
        )
    return None if value == arch.heads else value


def _check_window(arch: Fields) -> None:
    window = arch.window
    if window is None:
        return
    if arch.mask != "causal":
        raise InputError(f"window slides along a causal mask: set mask='causal', got mask={arch.mask!r}")
    if window >= arch.tokens:
        raise InputError(
            f"window={window} has no effect on {arch.tokens} tokens, which a causal mask already lets see "
            "all before them; use window=None"
        )


def _check_norm_over_width(arch: Fields, branches: Branches) -> None:
    if not any(arch.normed(branch) for branch in branches() if branch.kind == "attention"):
        raise InputError(
            "qk_norm_over='width' has no effect without norms on queries and keys; set qk_norm=True"
        )
    if arch.heads == 1:
        raise InputError("qk_norm_over='width' has no effect with one head, which is as wide; leave it out")
