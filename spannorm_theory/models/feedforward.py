"""The facts of the feed-forward branch: its width and gate, and its experts."""

from __future__ import annotations

from collections.abc import Iterator
from math import nextafter
from typing import Any

from ..gaussian.activations import ACTIVATIONS
from .config import Config
from .effects import GATES, SHORTCUT
from .family import Family
from .gaussian_means import clamped_gate, sigmoid_square
from .settle import Fact

_TANH = ("gelu-tanh", "gelu"), ("geglu-tanh", "geglu")
#: what libraries call an activation -> ours, alone and with a gate; of several the first that is registered
NAMES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "gelu": (("gelu",), ("geglu",)),
    "gelu_new": _TANH,
    "gelu_fast": _TANH,
    "gelu_pytorch_tanh": _TANH,
    "quick_gelu": (("quick-gelu",), ()),
    "relu": (("relu",), ("reglu",)),
    "relu2": (("relu2",), ()),
    "silu": (("silu",), ("swiglu",)),
    "swish": (("silu",), ("swiglu",)),
}
_MIXTURES = """deepseek_v3 deepseek_v4 glm4_moe glm5_next_text gpt_oss granitemoe hy_v3 hy_v4
    inkling2_text minimax mixtral muse_spark_text olmoe qwen2_moe qwen3_moe qwen4_exp_text"""
#: model types that always have experts, whose number the library sets where a file does not say it
MIXTURES = frozenset(_MIXTURES.split())
#: what stands for an activation that is not registered
STAND_INS = ("relu", "reglu")


def shape(config: Config, row: Family, known: frozenset[str]) -> dict[str, Any]:
    """The fields that every feed-forward branch has: activation, and the hidden width of it or of an expert.

    Args:
        known: the fields that an architecture has.
    """
    width, hidden = config.whole("width"), _hidden(config)
    if _experts(config, row):
        hidden = config.whole("expert_hidden", hidden)
    elif config.value("experts") == 1:  # whose gate is one: it and the shared ones are one wide branch
        config.ignore("top_k")
        hidden *= 1 + config.whole("shared_experts", row.shared_experts, 0)
    fields: dict[str, Any] = {"activation": _activation(config, row) or STAND_INS[row.gated]}
    if hidden != 4 * width:
        fields |= {"ffn_width": hidden} if "ffn_width" in known else {"ffn_ratio": _ratio(hidden, width)}
    return fields


def _hidden(config: Config) -> int:
    factor = config.whole("expansion_ratio", 4)
    return config.whole("hidden", factor * config.whole("width"))


def _experts(config: Config, row: Family) -> int:
    """The number of experts among which a router chooses; 0 for a dense branch."""
    if row.shortcut:
        return 0
    experts = config.whole("experts") if config.model_type in MIXTURES else config.whole("experts", 0, 0)
    return experts if experts > 1 else 0


def _ratio(hidden: int, width: int) -> float:
    """The number next to hidden / width whose product with the width is whole."""
    ratio = hidden / width
    near = (ratio, nextafter(ratio, 0), nextafter(ratio, 2 * ratio))
    return next((r for r in near if r * width == hidden), ratio)


def _theirs(config: Config, row: Family) -> str:
    """The activation, as the library calls it."""
    return str(config.value("activation", row.activation))


def _activation(config: Config, row: Family) -> str | None:
    """The registered activation; None if there is none."""
    theirs = _theirs(config, row)
    names = NAMES.get(theirs, ((theirs,), ()))[row.gated]
    return next((name for name in names if name in ACTIVATIONS), None)


def feedforward(config: Config, row: Family, variance: float) -> Iterator[Fact]:
    """The facts of the branch beside its shape.

    Args:
        variance: of a matrix's product with a normed token, width x std^2 x gain^2 of the norm.
    """
    theirs = _theirs(config, row)
    if _activation(config, row) is None:
        effect = "a hidden layer of another size"
        if theirs == "relu2":
            effect = f"the hidden layer's second moment is {1 / (3 * variance):.3g} times the model's"
        yield Fact(f"the activation {theirs}, for which {STAND_INS[row.gated]} stands", effect)
    if row.gate:
        alpha, limit = config.size("swiglu_alpha", 1.702), config.size("swiglu_limit", 7.0)
        less = clamped_gate(variance, alpha, limit)
        yield Fact(
            f"a gate of its own: (up + 1) g sigmoid({alpha:g} g), both clamped at {limit:g}",
            f"the hidden layer's second moment is {less:.3g} times the model's without",
            {"activation": row.gate},
        )
    experts = _experts(config, row)
    if row.shortcut:
        config.ignore("experts", "top_k", "expert_hidden", "routed_scale")
        yield Fact("experts beside every other dense branch, whose output is added one block later", SHORTCUT)
    if experts:
        yield from _of_experts(config, row, experts, variance)


def _of_experts(config: Config, row: Family, experts: int, variance: float) -> Iterator[Fact]:
    chosen, one = config.whole("top_k"), config.whole("expert_hidden", _hidden(config))
    shared = config.whole("shared_experts", row.shared_experts, 0)
    wide = config.whole("shared_hidden", 0, 0)
    if wide:  # a wide branch is several narrow ones beside each other
        shared = max(1, round(wide / one))
    scale = config.size("routed_scale", 1.0)
    yield Fact(
        f"{chosen} of {experts} experts",
        "the branch is as large as a dense one without",
        {"experts": experts, "top_k": chosen},
    )
    if shared:
        yield Fact(f"{shared} shared experts", "the branch is smaller without", {"shared_experts": shared})
    if wide:
        yield Fact(
            "a gate on the shared experts",
            f"their second moment is {1 / sigmoid_square(variance):.3g} times the model's without",
            {"shared_gate": True},
        )
    yield from _gates(row)
    if scale != 1:
        effect = f"the routed experts' second moment is {scale**-2:.3g} times the model's without"
        yield Fact(f"routed experts x {scale:g}", effect, {"routed_scale": scale})
    yield from _dense(config, row, one, shared + scale**2 / chosen)
    groups, kept = config.whole("n_group", 1), config.whole("topk_group", 1)
    if groups > kept:
        yield Fact(
            f"experts chosen from {kept} of {groups} groups",
            "not measured; the gates are of nearly the size of the best",
            {"expert_groups": groups, "top_groups": kept},
        )


def _gates(row: Family) -> Iterator[Fact]:
    told = {
        "softmax": "weights of experts from a softmax over all",
        "sigmoid": "weights of experts from sigmoids, renormalised",
        "none": "weights of experts that are sigmoids, not renormalised",
        "inputs": "sigmoids of the router that multiply what an expert reads",
    }
    if row.gates in told:
        fields = {"gates": row.gates} if row.gates in ("softmax", "sigmoid") else {}
        yield Fact(told[row.gates], GATES[row.gates], fields)


def _dense(config: Config, row: Family, one: int, sparse: float) -> Iterator[Fact]:
    """Blocks whose feed-forward branch has no experts.

    Args:
        sparse: an expert branch's second moment over that of one expert.
    """
    depth, hidden = config.whole("depth"), config.whole("intermediate_size_mlp", _hidden(config))
    kinds = config.listed("mlp_layer_types", depth)
    first = (
        row.dense if kinds is None else next((l for l, kind in enumerate(kinds) if kind != "dense"), depth)
    )
    first = config.whole("dense_layers", first, 0)
    times = f"{one * sparse / hidden:.3g} times the model's there without"
    if first:
        told = "the first block is" if first == 1 else f"the first {first} blocks are"
        yield Fact(
            f"{told} dense, {hidden} wide",
            f"the branch's second moment is {times}",
            {"dense_layers": first, "dense_ffn_width": hidden},
            {"dense_layers": first},
        )
    step = max(config.whole("decoder_sparse_step", 1), config.whole("interleave_moe_layer_step", 1))
    config.ignore("moe_layers")  # which follow from the step
    only = config.listed("mlp_only_layers") or []
    only += [layer for layer in range(first, depth) if kinds is not None and kinds[layer] == "dense"]
    dense = [layer for layer in range(depth) if (layer + 1) % step or layer in only]
    if dense:
        yield Fact(f"{len(dense)} blocks are dense, {hidden} wide", f"the branch's second moment is {times}")
