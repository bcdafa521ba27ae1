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
from .reach import WORDS, Reach
from .scalings import SCALINGS

#: relative difference up to which two logit scales are one
SAME = 1e-12

#: the branches of all blocks, traced when called
Branches = Callable[[], Sequence[Branch]]

#: what a placement says of each of its attention branches, traced when called
Reaches = Callable[[], Sequence[Reach]]


def check_attention(arch: Fields, branches: Branches, reaches: Reaches) -> dict[str, Any]:
    """Hold the attention fields against each other; returns those whose value has a shorter equal.

    Raises:
        InputError: a value that no attention has, or that has no effect with the other fields.
    """
    _check_positions(arch, branches, reaches)
    if arch.qk_norm_over == "width":
        _check_norm_over_width(arch, branches)
    _check_window(arch, reaches)
    _check_latents(arch)
    return {
        "attention_pattern": _pattern(arch, reaches),
        "head_width": _head_width(arch),
        "kv_heads": _kv_heads(arch),
        "logit_scale": _logit_scale(arch),
    }


def _check_positions(arch: Fields, branches: Branches, reaches: Reaches) -> None:
    if arch.positions != "none" and _says_its_own(reaches, "positions"):
        raise InputError(
            f"positions={arch.positions!r} has no effect on {arch.placement}, which says those of its "
            "attention; leave it out"
        )
    size, share, kind = arch.head_size, arch.rotary_share, type(arch)
    whole = size % 2 == 0 and (share * size / 2).is_integer()
    changed = [name for name in ("rotary_base", "rotary_share") if getattr(arch, name) != getattr(kind, name)]
    if whole and not changed:
        return
    rotates = any(arch.attends(branch).positions == "rope" for branch in _attention(branches))
    if rotates and size % 2:
        raise InputError(
            f"positions='rope' rotates pairs of coordinates and needs an even head width, got {size}"
        )
    if rotates and not whole:
        raise InputError(
            f"rotary_share must be a share of an even number of a head's coordinates, got {share:g} of {size}"
        )
    if rotates and arch.rotary_base != kind.rotary_base and share * size == 2:
        raise InputError(
            f"rotary_base={arch.rotary_base:g} has no effect on the one pair of coordinates that rotates, by "
            "one radian a position; leave it out, or rotate more (rotary_share)"
        )
    if changed and not rotates:
        raise InputError(f"{changed[0]} needs positions='rope', got positions={arch.positions!r}")


def _attention(branches: Branches) -> list[Branch]:
    """The attention branches of all blocks."""
    return [branch for branch in branches() if branch.kind == "attention"]


def _says_its_own(reaches: Reaches, name: str) -> bool:
    """Whether the placement gives all of its attention a window or positions, by ``name``."""
    own = [getattr(reach, name) for reach in reaches()]
    return None not in own and len(own) > 0


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


def _check_window(arch: Fields, reaches: Reaches) -> None:
    window = arch.window
    if window is None:
        return
    if window >= arch.tokens:
        raise InputError(
            f"window={window} has no effect on {arch.tokens} tokens, which are all nearer to each other; use "
            "window=None"
        )
    if _says_its_own(reaches, "window"):
        raise InputError(
            f"window={window} has no effect on {arch.placement}, which says the window of its attention; "
            "leave it out"
        )


def _pattern(arch: Fields, reaches: Reaches) -> str | None:
    """The pattern; None if its blocks are alike, as the other fields say."""
    if arch.attention_pattern is None:
        return None
    words = arch.attention_pattern.split(",")[: arch.depth]  # the others stand nowhere
    found = {name: [getattr(WORDS[word], name) for word in words] for name in Reach._fields}
    for name, said in found.items():
        if set(said) != {None} and _says_its_own(reaches, name):
            raise InputError(
                f"attention_pattern={arch.attention_pattern!r} has no effect on the {name} of "
                f"{arch.placement}, which says that of its attention; leave it out"
            )
    windows, nowhere = found["window"], found["positions"]
    if None in windows and arch.window is None:
        raise InputError("attention_pattern has blocks with a window: say how many tokens as window=")
    if None not in windows and arch.window is not None:
        raise InputError(
            f"window={arch.window} has no effect under attention_pattern={arch.attention_pattern!r}, none of "
            "whose blocks have a window; use window=None"
        )
    if "none" in nowhere and arch.positions == "none":
        raise InputError(
            "attention_pattern has blocks without positions ('-nope'), but positions='none' leaves none that "
            "has any; use 'full' and 'window', or positions='rope'"
        )
    if None not in nowhere:
        raise InputError(
            f"positions={arch.positions!r} has no effect under attention_pattern={arch.attention_pattern!r}, "
            "all of whose blocks are without; use positions='none'"
        )
    return None if len(words) == 1 else ",".join(words)


def _check_latents(arch: Fields) -> None:
    rule = SCALINGS[arch.scaling].multipliers("attention")
    for name, rank in (("attn.query_down", arch.latent_queries), ("attn.key_down", arch.latent_keys)):
        factors = rule.gains, rule.std, rule.outputs
        if rank is not None and 0 in [found.get(name) for found in factors]:
            raise InputError(
                f"the scaling rule {arch.scaling!r} makes {name} zero, and a norm reads its output; take "
                "another rule, or no latents"
            )


def _check_norm_over_width(arch: Fields, branches: Branches) -> None:
    if not any(map(arch.normed, _attention(branches))):
        raise InputError(
            "qk_norm_over='width' has no effect without norms on queries and keys; set qk_norm=True"
        )
    if arch.heads == 1:
        raise InputError("qk_norm_over='width' has no effect with one head, which is as wide; leave it out")
