"""Values that the fields of an architecture may have together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isclose
from typing import Any

from ..base import symbols
from ..base.errors import InputError
from .attention_validation import Branches, Reaches, check_attention
from .fields import Fields
from .graph import SUBLAYERS, Gain, Norm, Trace
from .layers import OF_EXPERTS
from .scalings import SCALINGS
from .token_law import LAWS
from .values import MOST

#: share by which a width from a ratio may miss a whole number: what the ratio is rounded by
WHOLE = 1e-14
_LAWS = " or ".join(repr(law) for law in LAWS)

#: the fields that belong to token ids or to a head
ONE_VOCABULARY = (
    *("vocabulary", "head_gain", "logit_multiplier", "logit_cap", "tied_head"),
    "embedding_multiplier",
)


def check_fields(arch: Fields, branches: Branches, reaches: Reaches) -> dict[str, Any]:
    """Hold fields of plain values against each other; returns those whose value has a plainer equal.

    Args:
        branches: those of all blocks, traced where a rule asks for them.
        reaches: those that the placement itself gives its attention, traced alike.

    Raises:
        InputError: a value that no architecture has, or that has no effect with the other fields.
    """
    if arch.head_width is None and arch.width % arch.heads:
        raise InputError(
            f"width must be divisible by heads unless head_width is given, got width={arch.width}, "
            f"heads={arch.heads}"
        )
    if arch.norm == "layer" and arch.width == 1:
        raise InputError("norm='layer' of width=1 is always zero: it takes the mean away; use norm='rms'")
    _check_inputs(arch)
    _check_vocabulary(arch)
    _check_experts(arch, branches)
    _check_logits(arch, branches)
    hidden, unique = _hidden(arch), _unique_blocks(arch)
    return {
        "ffn_ratio": hidden / arch.width,
        "ffn_width": None,
        "dense_ffn_width": _dense_ffn_width(arch, hidden),
        "unique_blocks": unique,
        **check_attention(arch, branches, reaches),
    }


def check_norms(arch: Fields, traces: Callable[[], Sequence[Trace]]) -> None:
    """Refuse constants of norms where a placement has none.

    Args:
        traces: those of all blocks and of the readout, made when they are asked for.

    Raises:
        InputError: naming the field.
    """
    said = [n for n in ("norm_epsilon", "norm_gain") if getattr(arch, n) != getattr(type(arch), n)]
    if not said or any(isinstance(node, Norm) for trace in traces() for node in trace.nodes):
        return
    branches = [b for trace in traces() for b in trace.branches if b.kind == "attention"]
    if said == ["norm_epsilon"] and any(map(arch.normed, branches)):
        return  # of queries and keys, whose gain is 1
    raise InputError(f"{said[-1]} has no effect on {arch.placement}, which norms no stream; leave it out")


def _hidden(arch: Fields) -> int:
    """The hidden width.

    Raises:
        InputError: the ratio makes no whole number.
    """
    ratio, hidden = arch.ffn_ratio, arch.ffn_width
    if hidden is None:
        product = ratio * arch.width
        hidden = round(product)
        if product > MOST or not hidden or not isclose(product, hidden, rel_tol=WHOLE):
            raise InputError(
                f"ffn_ratio * width must be a whole number up to 2^53, got {ratio} * {arch.width} = "
                f"{product}; ffn_width says that number itself"
            )
    return hidden


def check_shared(arch: Fields, traces: Callable[[], Sequence[Trace]]) -> None:
    """Refuse learnt multipliers of blocks that have their matrices in common.

    Args:
        traces: those of all blocks, made when they are asked for.

    Raises:
        InputError: the placement, or the scaling rule, has some.
    """
    if arch.shares_matrices and any(isinstance(node, Gain) for trace in traces() for node in trace.nodes):
        raise InputError(
            f"{arch.placement} under {arch.scaling} has learnt multipliers, whose gradients over blocks that "
            "share them are not modelled; use copied=True, another placement or another rule"
        )


def _unique_blocks(arch: Fields) -> int | None:
    """The number of blocks that are different; None where all are."""
    unique = arch.unique_blocks if arch.unique_blocks != arch.depth else None
    if unique is None:
        if arch.copied:
            raise InputError("copied has no effect on blocks that are all different; set unique_blocks")
        return None
    if unique > arch.depth:
        raise InputError(f"unique_blocks must be at most depth={arch.depth}, got {unique}")
    if arch.dense_layers:
        raise InputError("unique_blocks is of blocks of one kind; leave dense_layers out")
    rule = SCALINGS[arch.scaling]
    for kind in SUBLAYERS:
        found = rule.multipliers(kind)
        for name, factor in (*found.gains.items(), *found.std.items()):
            if symbols.layer in factor.free_symbols:
                raise InputError(
                    f"the scaling rule {rule.name!r} gives {name} of every block a size of its own, and "
                    "unique_blocks gives several blocks one matrix; take a rule of the depth alone"
                )
    return unique


def _check_inputs(arch: Fields) -> None:
    """The fields that say how tokens of the input resemble each other."""
    lowest, cosine = -1 / (arch.tokens - 1), arch.input_cosine
    if not lowest < cosine < 1:
        raise InputError(
            f"input_cosine must lie in ({lowest:.4g}, 1) for {arch.tokens} tokens, got {cosine!r}"
        )
    if arch.reads_ids and cosine:
        raise InputError(
            f"input_cosine belongs to inputs='gaussian'; that of inputs={arch.inputs!r} follows from "
            "vocabulary and position_variance"
        )
    if not arch.reads_ids and arch.position_variance:
        raise InputError(f"position_variance belongs to token ids, inputs={_LAWS}")


def _check_logits(arch: Fields, branches: Branches) -> None:
    if arch.logit_variance == 0 and any("query" in arch.normed(b) for b in branches()):
        raise InputError(
            "logit_variance=0 is a temperature of zero under norms on queries and keys, for which even "
            "attention has no use; take the norms away, or a small temperature"
        )
    for name in ("positions", "logit_scale"):
        if arch.logit_variance == 0 and getattr(arch, name) != getattr(type(arch), name):
            raise InputError(
                f"{name}={getattr(arch, name)!r} has no effect beside logit_variance=0, by which all logits "
                "are zero; leave one of them out"
            )
    chosen = arch.logit_variance is not None and arch.logit_scale != "sqrt"
    if chosen and any("query" in arch.normed(b) for b in branches()):
        raise InputError(
            f"logit_scale={arch.logit_scale!r} has no effect beside logit_variance under norms on queries "
            "and keys, where that is the square of what logits are multiplied by; leave one of them out"
        )
    stated = {"attn.query", "attn.key"} & set(SCALINGS[arch.scaling].multipliers("attention").std)
    if arch.logit_variance is not None and stated:
        raise InputError(
            f"logit_variance has no effect under the scaling rule {arch.scaling!r}, which states the "
            f"standard deviation of {' and '.join(sorted(stated))}; leave it out, or take another rule"
        )


def _check_vocabulary(arch: Fields) -> None:
    """The fields of token ids, and of a head and its loss."""
    head = arch.loss == "cross-entropy"
    changed = {name for name in ONE_VOCABULARY if getattr(arch, name) != getattr(type(arch), name)}
    if not arch.reads_ids and not head and "vocabulary" in changed:
        raise InputError(
            f"vocabulary belongs to token ids, inputs={_LAWS}, and to loss='cross-entropy'; neither is set"
        )
    for name in sorted(changed & {"head_gain", "logit_multiplier", "logit_cap"}):
        if not head:
            raise InputError(f"{name} belongs to loss='cross-entropy', got loss={arch.loss!r}")
    if arch.tied_head and not (head and arch.reads_ids):
        raise InputError(
            f"tied_head is of an embedding of ids, inputs={_LAWS}, and a head, loss='cross-entropy'; set both"
        )
    if "embedding_multiplier" in changed and not (head and arch.reads_ids):
        raise InputError(
            "embedding_multiplier multiplies the gradient of an embedding, which is predicted for token ids, "
            f"inputs={_LAWS}, under loss='cross-entropy'; otherwise it has no effect beside input_variance"
        )


def _check_experts(arch: Fields, branches: Branches) -> None:
    if arch.top_k > arch.experts:
        raise InputError(f"top_k={arch.top_k} experts of experts={arch.experts} cannot be chosen")
    if arch.experts == 1:
        for name in OF_EXPERTS:
            if getattr(arch, name) != getattr(type(arch), name):
                raise InputError(f"{name}={getattr(arch, name)!r} needs experts of at least 2, got experts=1")
        return
    if any(b.inner_norm and b.kind == "ffn" for b in branches()):
        raise InputError(
            f"{arch.placement} norms the hidden layer of its feed-forward branch, which is not modelled for "
            f"experts={arch.experts}; use another placement, or experts=1"
        )
    if arch.shared_gate and not arch.shared_experts:
        raise InputError("shared_gate has no effect without shared experts; set shared_experts")
    _check_router(arch)
    _check_groups(arch)


def _check_router(arch: Fields) -> None:
    if arch.top_k == 1 and arch.gates != "softmax":  # the one gate is 1
        if arch.gates == "sigmoid":
            raise InputError(
                "gates='sigmoid' is 1 for one chosen expert; use top_k=2 or more, or leave it out"
            )
        if arch.router_gain is not None:
            raise InputError(
                "router_gain has no effect on the one renormalised gate of top_k=1, which is 1; leave it out"
            )
    if arch.router_gain is not None and "ffn.router" in SCALINGS[arch.scaling].multipliers("ffn").std:
        raise InputError(
            f"router_gain has no effect under the scaling rule {arch.scaling!r}, which states the standard "
            "deviation of ffn.router; leave it out, or take another rule"
        )


def _check_groups(arch: Fields) -> None:
    groups, taken = arch.expert_groups, arch.top_groups
    if groups == taken == 1:
        return
    size = arch.experts // groups
    if arch.experts % groups or size < 2:
        raise InputError(
            f"expert_groups must part experts={arch.experts} into equal groups of two or more, got {groups}"
        )
    if taken >= groups:
        raise InputError(f"top_groups must be fewer than expert_groups={groups}, got {taken}")
    if arch.top_k > taken * size:
        raise InputError(
            f"top_k={arch.top_k} experts are more than the {taken * size} in top_groups={taken} of {size}"
        )


def _dense_ffn_width(arch: Fields, hidden: int) -> int | None:
    """The hidden width of dense blocks among blocks of experts; None where it is ``hidden``, an expert's."""
    if arch.dense_layers >= arch.depth:
        raise InputError(
            f"dense_layers={arch.dense_layers} of depth={arch.depth} leave no block to experts; use experts=1"
        )
    if arch.dense_ffn_width is not None and not arch.dense_layers:
        raise InputError("dense_ffn_width has no effect without dense blocks; set dense_layers")
    return None if arch.dense_ffn_width == hidden else arch.dense_ffn_width
