"""The facts of the residual stream: what the embedding adds up, norms, and what multiplies a branch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

from ..base import arguments
from .config import Config
from .effects import EPSILON_OF_BRANCHES, GAIN, UNMODELLED
from .family import Family
from .settle import Fact


@dataclass(frozen=True)
class Embedding:
    """The tokens that the first block reads.

    Attributes:
        ids, positions: second moments of what stands for the id, and of all else that is added.
        cosine: of two tokens of different ids, from what all have in common.
        factor: that the sum is multiplied by, within the second moments.
    """

    ids: float
    positions: float
    cosine: float
    factor: float

    @property
    def moment(self) -> float:
        """The second moment of a token."""
        return self.ids + self.positions


def embedding(config: Config, row: Family) -> Embedding:
    """The sum of a token's embeddings, for ids drawn independently."""
    std, width = config.size("std", row.std), config.whole("width")
    narrow = config.whole("word_embed_proj_dim", width)
    ids = std**2 if narrow == width else narrow * std**4  # a narrow embedding and the matrix that widens it
    rest = (row.rows - 1) * std**2
    factor = config.size("embedding_factor", 1.0)
    if row.embedding == "sqrt-width":
        factor *= sqrt(width)
    if row.embedding == "norm":
        factor = 1 / sqrt(ids + rest + config.size("epsilon", row.epsilon))
        narrow = config.whole("embedding_size", width)
        factor *= 1 if narrow == width else sqrt(narrow) * std  # a matrix widens what was normed
    return Embedding(ids * factor**2, rest * factor**2, row.shared / row.rows, factor)


def stream(config: Config, row: Family) -> Iterator[Fact]:
    """The facts of norms and multipliers."""
    depth = config.whole("depth")
    multiplier = config.size("residual_multiplier", 1.0)
    if config.value("scale_depth"):
        multiplier = config.size("scale_depth", 1.0) / sqrt(depth)
    if multiplier != 1:
        yield Fact(
            f"branches x {multiplier:.4g}",
            f"branches' second moments are {multiplier**-2:.3g} times the model's without",
            {"placement": f"{row.placement}(branch={multiplier!r})"},
        )
    if row.placement == "shifted-post-norm":
        yield _shifted(config)
    if row.placement == "inkling-2":
        layers = config.whole("n_layers_per_attn_res_block", 6)
        fields = {"placement": f"inkling-2(layers={layers})"}
        yield Fact(f"attention over the depth, with sums of {layers} blocks", "", fields)
    for feature, effect in row.missing:
        yield Fact(feature, effect)
    for key, (feature, effect) in UNMODELLED.items():
        if config.value(key):
            yield Fact(feature, effect)
    if row.gain != 1:
        yield Fact(
            f"norms of gain {row.gain:g}",
            GAIN,
            {"norm_gain": row.gain},
        )
    yield from _groups(config, row, depth)
    yield _epsilon(config, row)
    narrow = config.whole("word_embed_proj_dim", config.whole("width"))
    if narrow != config.whole("width"):
        gain = narrow * config.size("std", row.std) ** 2
        effect = f"gradients are {1 / gain:.3g} times the model's without"
        yield Fact(f"a matrix of {narrow} columns behind the last norm", effect)
    if config.value("apply_residual_connection_post_layernorm"):
        yield Fact(
            "skips that start behind the norm", "the stream grows with depth without, and not with them"
        )
    clip = config.within("attn_config").value("clip_qkv") or config.value("clip_qkv")
    if clip:
        clip = arguments.number("clip_qkv", clip)
        spread = sqrt(config.whole("width")) * config.size("std", row.std) * row.gain
        effect = "" if clip > 4 * spread else "queries, keys and values are too large without"
        yield Fact(
            f"queries, keys and values clipped at {clip:g}, {clip / spread:.3g} times their size", effect
        )


def _shifted(config: Config) -> Fact:
    """The factors on skips and branches of a placement whose skip starts behind the norm."""
    kinds = ("full_attn", "linear_attn", "mlp")
    skips, branches = (
        {config.size(f"{kind}_{name}_factor", 1.0) for kind in kinds} for name in ("alpha", "beta")
    )
    skip, branch = max(skips), max(branches)
    told = f"skips x {skip:.4g} and branches x {branch:.4g}"
    fields = {"placement": f"shifted-post-norm(skip={skip!r}, branch={branch!r})"}
    if len(skips) == len(branches) == 1:
        return Fact(told, "" if skip == branch == 1 else "the share of branches is off without", fields)
    return Fact(f"{told} in some sublayers and not in others", "the share of branches is off")


def _groups(config: Config, row: Family, depth: int) -> Iterator[Fact]:
    """Layers that have their matrices in common."""
    if row.groups:
        groups, inner = config.whole("num_hidden_groups", row.groups), config.whole("inner_group_num", 1)
        unique = groups * inner
        effect = "what blocks add is taken as independent without"
        if unique == 1 or (groups == depth and inner == 1):
            yield Fact(f"{unique} different blocks", effect, {"unique_blocks": unique})
        else:
            yield Fact(f"{groups} groups of {inner} layers, each run several times in a row", effect)


def _epsilon(config: Config, row: Family) -> Fact:
    """The epsilon of norms, with what it does to the first norm of the stream or to those of branches."""
    epsilon = config.size("epsilon", row.epsilon)
    first = epsilon / embedding(config, row).moment
    effect = f"the first norm's output has a second moment {100 * first:.2g} % too large without"
    effect = effect if first > 5e-3 else ""
    if row.placement in ("olmo2", "sandwich", "gemma-4", "olmo-hybrid"):
        effect = "; ".join(filter(None, (effect, EPSILON_OF_BRANCHES)))
    return Fact(f"epsilon {epsilon:g} in norms", effect, {"norm_epsilon": epsilon})


def head(config: Config, row: Family, given: Mapping[str, Any]) -> Iterator[Fact]:
    """The facts of the unembedding, which a cross-entropy loss reads, at the width and std that are given."""
    width, init = config.whole("width"), given.get("init")
    std = config.size("std", row.std) if init is None or isinstance(init, str) else init
    factor = config.size("logit_scale", 1.0) / config.size("logits_scaling", 1.0)
    factor *= config.size("output_multiplier", 1.0) * config.size("dim_model_base", width) / width
    std = arguments.number("init", std)
    gain = arguments.whole("width", given.get("width", width), 1) * (std * factor) ** 2
    effect = "the gradients of a cross-entropy are off by the gain without"
    yield Fact(f"a head of gain {gain:.3g}", effect, {"head_gain": gain})
    if factor != 1:
        effect = f"the gradient of the head's weights is {factor**-2:.3g} times the model's without"
        yield Fact(f"a head whose logits are x {factor:.3g}", effect, {"logit_multiplier": factor})
    if config.value("final_logit_softcapping"):
        cap, spread = config.size("final_logit_softcapping", 1.0), sqrt(gain)
        effect = f"logits pass unbent, which at the cap's {spread / cap:.2g} they nearly do at initialisation"
        yield Fact(f"logits of the head softly capped at {cap:g}", effect, {"logit_cap": cap})


def ids(config: Config, row: Family, loss: bool) -> Iterator[Fact]:
    """The facts of an embedding of ids that no other field holds.

    Args:
        loss: whether a cross-entropy asks for the embedding's gradient.
    """
    found = embedding(config, row)
    if found.cosine:
        effect = f"the cosine of two tokens of different ids is 0 in place of {found.cosine:.3g}"
        yield Fact("an embedding that all tokens share", effect)
    if loss and config.value("tie_word_embeddings", row.tied) and row.embedding != "norm":
        effect = "the loss lacks what a token's own logit has where the output keeps the embedding"
        yield Fact("a head that is the embedding", effect, {"tied_head": True})
    if loss and found.factor != 1 and row.embedding != "norm":
        effect = f"the gradient of the embedding is {found.factor**-2:.3g} times the model's without"
        yield Fact(f"an embedding x {found.factor:.4g}", effect, {"embedding_multiplier": found.factor})
