"""The facts of attention: heads, norms of queries and keys, logits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import sqrt
from typing import Any

from ..spec.fields import Fields
from .config import Config
from .effects import ALIBI, LATENT, LATENT_QUERIES, MIXER, PICKED, ROTATED_PART, SHORT, SINK
from .family import Family
from .gaussian_means import sigmoid_square
from .positions import WINDOWED, layers, logit_stretch, rotary, rotary_factor
from .settle import Fact

#: what layers without positions lack where others have norms on queries and keys
NORMS_BY_LAYER = "no norms on queries and keys of layers without positions"

#: kinds of layers, as files name them, that attend by a softmax over all tokens, or over the nearest
SOFTMAX = ("softmax", "full_attention", "indexed_attention", "hybrid", *WINDOWED)


def attention(config: Config, row: Family, given: Mapping[str, Any], variance: float) -> Iterator[Fact]:
    """The facts of attention, in the order in which an architecture takes them.

    Args:
        given: fields that go over the configuration's; of these, tokens, heads and init count.
        variance: of a matrix's product with a normed token.
    """
    width, heads = config.whole("width"), config.whole("heads")
    latent = config.value("latent_keys") is not None
    word = "v_head_dim" if latent else "head_width"
    head = config.whole(word, row.head or max(1, width // heads))
    yield from _heads(config, width, heads, head, given.get("heads"))
    if row.positions == "rope":
        yield Fact("rotary positions", SHORT, {"positions": "rope"})
    if row.positions == "alibi":
        yield Fact("ALiBi", ALIBI)
    yield from _norms(config, row, variance**2)
    yield from layers(config, row, given.get("tokens", Fields.tokens))
    if row.positions == "rope":
        yield from rotary(config, row, head)
    if latent:
        # a file's std is of all matrices, and ``init`` may be by their shape
        one_std = not isinstance(given.get("init"), str)
        yield from (
            _latent(config, row, head, one_std) if row.latents == "normed" else _even(config, row, head)
        )
    else:
        yield from _logits(config, row, head, variance**2)
        if rank := config.whole("latent_queries", 0, 0):
            yield Fact(f"queries through a normed latent of {rank}, without one of keys", LATENT_QUERIES)
    if row.sinks:
        yield Fact("an attention sink in every head", SINK, {"sinks": True})
    if row.output_gate:
        yield Fact(
            "sigmoids of a matrix that multiply what attention puts out",
            f"attention's second moment is {1 / sigmoid_square(variance):.3g} times the model's without",
            {"attention_gate": True},
        )
    yield from _mixers(config, row)
    picked, tokens = config.whole("index_topk", 0, 0), given.get("tokens", Fields.tokens)
    if 0 < picked < tokens:
        yield Fact(f"attention to the {picked} tokens that an index picks", PICKED)


def _mixers(config: Config, row: Family) -> Iterator[Fact]:
    """Layers that mix tokens by something else than softmax attention over all or the nearest."""
    depth = config.whole("depth")
    kinds = [("softmax", "mixer")[letter == "m"] for letter in row.mixers or "s"]
    listed = config.listed("layer_types", depth) or [kinds[layer % len(kinds)] for layer in range(depth)]
    others = [kind for kind in listed if kind not in SOFTMAX]
    if others:
        yield Fact(f"{len(others)} of {depth} layers mix tokens otherwise, for which attention stands", MIXER)


def _heads(config: Config, width: int, heads: int, head: int, asked: int | None) -> Iterator[Fact]:
    if head * heads != width:
        yield Fact(
            f"heads of width {head}, where width / heads is {width / heads:.4g}",
            f"attention's second moment is {width / (heads * head):.3g} times the model's without",
            {"heads": heads, "head_width": head},
        )
    groups = config.whole("kv_heads", heads)
    if config.value("multi_query") and not config.value("new_decoder_architecture"):
        groups = 1
    if groups != heads:
        yield Fact(
            f"{groups} heads of keys and values for {heads} of queries",
            "tokens become alike a little slower without",
            {"kv_heads": groups if asked is None else _as_shared(groups / heads, asked)},
        )


def _as_shared(share: float, heads: int) -> int:
    """The divisor of another number of query heads that is nearest to this share of them."""
    divisors = [k for k in range(1, heads + 1) if heads % k == 0]
    return min(divisors, key=lambda k: abs(k - share * heads))


def _norms(config: Config, row: Family, logits: float) -> Iterator[Fact]:
    """The norms of queries and keys; ``logits`` is the variance that logits have without."""
    if row.qk_norm == "none":
        return
    fields: dict[str, bool | str] = {"qk_norm": True}
    one_key = config.whole("kv_heads", config.whole("heads")) == 1
    if row.qk_norm == "values":
        fields = {"qkv_norm": True}
    if row.qk_norm == "width" and not one_key:
        fields["qk_norm_over"] = "width"
    effect = f"logits, and squared gradients of queries and keys, are {logits:.3g} times the model's without"
    yield Fact("norms on queries and keys", effect, fields)
    if row.qk_norm == "width" and one_key:
        yield Fact("norms of queries over all heads, for which those over each head stand")
    if row.qk_norm == "rope":
        effect = f"the variance of their logits is {1 / logits:.3g} times the model's"
        yield Fact(NORMS_BY_LAYER, effect)


def _latent(config: Config, row: Family, head: int, one_std: bool) -> Iterator[Fact]:
    """Queries, keys and values through latents, and the part of keys that rotates, which has none.

    Logits are sums over coordinates of two sizes; heads as wide as values, with another scale and another
    share that rotates, have logits of the same law.
    """
    keys, queries = config.whole("latent_keys"), config.whole("latent_queries", 0, 0)
    told = f", queries through one of {queries}" if queries else ""
    fields = {"latent_keys": keys} | ({"latent_queries": queries} if queries else {})
    yield Fact(f"keys and values through a normed latent of {keys}{told}", LATENT, fields)
    still, turned = config.whole("qk_nope_head_dim"), config.whole("qk_rope_head_dim", 0, 0)
    config.ignore("head_width", "qk_head_dim")  # which follow from these
    # second moment of a key's coordinate that rotates over one of those that do not
    ratio = (config.whole("width") / keys if one_std else 1.0) * row.gain**2
    whole = still + turned * ratio
    factor = logit_stretch(config) if row.positions == "rope" else 1.0
    times = factor * sqrt(whole / (still + turned))  # one over the root of the head width
    scale = "sqrt" if abs(times - 1) < 1e-6 else float(f"{times / sqrt(head):.7g}")
    if not turned:
        if scale != "sqrt":
            yield Fact(f"logits x {times:.4g}", ROTATED_PART, {"logit_scale": scale})
        return
    pairs = max(1, round(turned * ratio / whole * head / 2))
    feature = f"queries and keys with {still} coordinates that do not rotate and {turned} that do"
    yield Fact(feature, ROTATED_PART, {"logit_scale": scale, "rotary_share": min(1.0, 2 * pairs / head)})
    yield Fact(
        "keys whose rotating part is one for all heads, and has no latent",
        f"squared gradients of attn.key are {whole / still:.3g} times the model's, and what those of "
        "attn.key_down have by keys; the rest is as it is",
        gradients=("attn.key", "attn.key_down"),
    )


def _even(config: Config, row: Family, head: int) -> Iterator[Fact]:
    """Latents behind whose norms a factor makes up for their width, so that queries, keys and values have the
    second moments of matrices that read the stream."""
    keys, queries = config.whole("latent_keys"), config.whole("latent_queries", 0, 0)
    still, turned = config.whole("qk_nope_head_dim"), config.whole("qk_rope_head_dim", 0, 0)
    config.ignore("head_width", "qk_head_dim")
    yield Fact(
        f"normed latents of {keys} and {queries} coordinates, at the size of matrices that read the stream",
        "second moments are those without; gradients of queries, keys and values are of one matrix, not two",
        gradients=("attn.query", "attn.key", "attn.value"),
    )
    pairs = max(1, round(turned / (still + turned) * head / 2))
    yield Fact(
        f"queries and keys with {still} coordinates that do not rotate and {turned} that do",
        ROTATED_PART,
        {"rotary_share": min(1.0, 2 * pairs / head)},
    )


def _logits(config: Config, row: Family, head: int, logits: float) -> Iterator[Fact]:
    """The factor on q.k, where it is not one over the root of the head width; ``logits`` is the variance that
    logits have under that."""
    plain = 1 / sqrt(head)
    scale = plain if row.scale is None else row.scale
    scale = config.size("attention_multiplier", scale * config.size("qk_scale_factor", 1.0))
    if config.value("query_pre_attn_scalar") is not None:
        scale = 1 / sqrt(config.whole("query_pre_attn_scalar"))
    if config.value("scale_attn_weights") is False:
        scale = 1.0
    scale = config.within("attn_config").size("softmax_scale", scale)
    if row.positions == "rope":
        scale *= rotary_factor(config) ** 2
    if config.value("scale_attn_by_inverse_layer_idx"):
        last = config.whole("depth")
        yield Fact(
            f"logits of block l divided by l + 1, up to {last}",
            f"logits' variance, queries' and keys' squared gradients of block l: (l + 1)^2 times the model's "
            f"without; in the last a variance of {logits:.2g} for {logits / last**2:.2g}",
            {"scaling": f"{row.scaling}+inverse-layer-logits"},
        )
    if abs(scale / plain - 1) > 1e-6:
        linear = abs(scale * head - 1) < 1e-6
        times = (plain / scale) ** 2
        yield Fact(
            f"logits are {scale:.4g} q.k, where one over the root of the head width is {plain:.4g}",
            f"logits' variance, queries' and keys' squared gradients: {times:.3g} times the model's without",
            {"logit_scale": "linear" if linear else scale},
        )
