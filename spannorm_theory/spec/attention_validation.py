"""Rules between the fields of attention.

A field that would change nothing in its combination is refused, so that no result carries a setting that
it does not depend on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..base.errors import InputError, UnknownNameError
from .fields import Fields
from .graph import Branch

#: the branches of all blocks, traced when called
Branches = Callable[[], Sequence[Branch]]

POSITIONS = ("none", "rope")
LOGIT_SCALES = ("sqrt", "linear")
NORM_SPANS = ("head", "width")


def check_attention(arch: Fields, branches: Branches) -> dict[str, Any]:
    """Validate the attention fields; returns those whose value has a shorter equal.

    Raises:
        InputError: a value that no attention has, or that has no effect with the other fields.
    """
    for field, known in (
        ("positions", POSITIONS),
        ("logit_scale", LOGIT_SCALES),
        ("qk_norm_over", NORM_SPANS),
    ):
        if getattr(arch, field) not in known:
            raise UnknownNameError(field, getattr(arch, field), known)
    if arch.positions == "rope" and arch.head_width % 2:
        raise InputError(
            f"positions='rope' rotates pairs of coordinates and needs an even head width, got "
            f"width / heads = {arch.head_width}"
        )
    if arch.qk_norm_over == "width":
        _check_norm_over_width(arch, branches)
    _check_window(arch)
    rates = {name: _rate(name, getattr(arch, name)) for name in ("dropout", "attention_dropout")}
    return {**rates, "kv_heads": _kv_heads(arch)}


def _kv_heads(arch: Fields) -> int | None:
    """The number of key and value heads; None if every head has its own."""
    value = arch.kv_heads
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1 or arch.heads % value:
        raise InputError(
            f"kv_heads must divide heads (each group of heads shares keys and values), got "
            f"kv_heads={value!r}, heads={arch.heads}"
        )
    return None if value == arch.heads else value


def _check_window(arch: Fields) -> None:
    window = arch.window
    if window is None:
        return
    if isinstance(window, bool) or not isinstance(window, int) or window < 2:
        raise InputError(
            "window must be None or an integer of at least 2 (a token sees itself and window - 1 before "
            f"it), got {window!r}"
        )
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


def _rate(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise InputError(f"{name} must be a probability in [0, 1), got {value!r}")
    return float(value)
