"""Values that the fields of an architecture may have, alone and together."""

from __future__ import annotations

import math
from typing import Any

from ..base.errors import InputError, UnknownNameError
from ..gaussian.activations import ACTIVATIONS
from .attention_validation import Branches, check_attention
from .fields import Fields
from .initialisation import NAMED_INITS
from .scalings import SCALINGS

#: the names that a field can have
NAMES = {
    "mask": ("none", "causal"),
    "norm": ("rms", "layer"),
    "inputs": ("gaussian", "zipf"),
    "loss": ("probe", "mean", "last", "cross-entropy"),
    "gates": ("renormalised", "softmax"),
}
#: the least value of the fields that count something
LEAST = {
    "depth": 1,
    "width": 1,
    "heads": 1,
    "tokens": 2,
    "vocabulary": 2,
    "experts": 1,
    "top_k": 1,
    "shared_experts": 0,
}


def check_fields(arch: Fields, branches: Branches) -> dict[str, Any]:
    """Validate all fields but placement and scaling; returns those whose value has a plainer equal.

    Args:
        branches: those of all blocks, traced where a rule asks for them.

    Raises:
        InputError: a value that no architecture has, or that has no effect with the other fields.
    """
    ACTIVATIONS[arch.activation]
    for name, least in LEAST.items():
        value = getattr(arch, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InputError(f"{name} must be an integer of at least {least}, got {value!r}")
    if arch.width % arch.heads:
        raise InputError(f"width must be divisible by heads, got width={arch.width}, heads={arch.heads}")
    for name, known in NAMES.items():
        if getattr(arch, name) not in known:
            raise UnknownNameError(name, getattr(arch, name), known)
    for flag in ("qk_norm", "qkv_norm"):
        if not isinstance(getattr(arch, flag), bool):
            raise InputError(f"{flag} must be True or False, got {getattr(arch, flag)!r}")
    plain = {**_positive(arch), **_inputs(arch)}
    _check_hidden(arch)
    _check_vocabulary(arch)
    _check_experts(arch, branches)
    _check_logits(arch, branches)
    return {**plain, **check_attention(arch, branches)}


def _positive(arch: Fields) -> dict[str, float]:
    """The fields that are positive numbers, and the logit variance, which may be zero."""
    values: dict[str, Any] = {"ffn_ratio": arch.ffn_ratio, "input_variance": arch.input_variance}
    if not isinstance(arch.init, str):
        values["init"] = arch.init
    elif arch.init not in NAMED_INITS:
        raise UnknownNameError("init", arch.init, NAMED_INITS)
    for name, value in values.items():
        if not _is_number(value) or not 0 < value < math.inf:
            raise InputError(f"{name} must be a positive number, got {value!r}")
    logits = arch.logit_variance
    if logits is not None:
        if not _is_number(logits) or not 0 <= logits < math.inf:
            raise InputError(f"logit_variance must be a number of at least 0, got {logits!r}")
        values["logit_variance"] = logits
    return {name: float(value) for name, value in values.items()}


def _check_hidden(arch: Fields) -> None:
    hidden = arch.ffn_ratio * arch.width
    if hidden != round(hidden):
        raise InputError(
            f"ffn_ratio * width must be a whole number, got {arch.ffn_ratio} * {arch.width} = {hidden}"
        )


def _inputs(arch: Fields) -> dict[str, float]:
    """The fields that say how tokens of the input resemble each other."""
    lowest, cosine, position = -1 / (arch.tokens - 1), arch.input_cosine, arch.position_variance
    if not _is_number(cosine) or not lowest < cosine < 1:
        raise InputError(
            f"input_cosine must lie in ({lowest:.4g}, 1) for {arch.tokens} tokens, got {cosine!r}"
        )
    if not _is_number(position) or not 0 <= position < math.inf:
        raise InputError(f"position_variance must be a number of at least 0, got {position!r}")
    if arch.inputs == "zipf" and cosine:
        raise InputError(
            "input_cosine belongs to inputs='gaussian'; that of inputs='zipf' follows from vocabulary "
            "and position_variance"
        )
    if arch.inputs != "zipf" and position:
        raise InputError("position_variance belongs to inputs='zipf'")
    return {"input_cosine": float(cosine), "position_variance": float(position)}


def _check_logits(arch: Fields, branches: Branches) -> None:
    if arch.logit_variance == 0 and any("query" in arch.normed(b) for b in branches()):
        raise InputError(
            "logit_variance=0 is a temperature of zero under norms on queries and keys, for which even "
            "attention has no use; take the norms away, or a small temperature"
        )
    stated = {"attn.query", "attn.key"} & set(SCALINGS[arch.scaling].multipliers("attention").std)
    if arch.logit_variance is not None and stated:
        raise InputError(
            f"logit_variance has no effect under the scaling rule {arch.scaling!r}, which states the "
            f"standard deviation of {' and '.join(sorted(stated))}; leave it out, or take another rule"
        )


def _check_vocabulary(arch: Fields) -> None:
    unused = arch.inputs != "zipf" and arch.loss != "cross-entropy"
    if unused and arch.vocabulary != type(arch).vocabulary:
        raise InputError("vocabulary belongs to inputs='zipf' and loss='cross-entropy'; neither is set")


def _check_experts(arch: Fields, branches: Branches) -> None:
    if arch.top_k > arch.experts:
        raise InputError(f"top_k={arch.top_k} experts of experts={arch.experts} cannot be chosen")
    if arch.experts == 1:
        for name in ("shared_experts", "gates"):
            if getattr(arch, name) != getattr(type(arch), name):
                raise InputError(f"{name}={getattr(arch, name)!r} needs experts of at least 2, got experts=1")
    elif any(b.inner_norm and b.kind == "ffn" for b in branches()):
        raise InputError(
            f"{arch.placement} norms the hidden layer of its feed-forward branch, which is not modelled for "
            f"experts={arch.experts}; use another placement, or experts=1"
        )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
