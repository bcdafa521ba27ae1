"""The facts of positions: layers that see a window, layers without positions, rotary embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from math import log

from .config import Config
from .effects import PARTIAL, PATTERN, SHORT
from .family import Family
from .settle import Fact

WINDOWED = ("sliding_attention", "chunked_attention", "hybrid_sliding")

#: layers of a pattern that are written out
SHOWN = 8


def layers(config: Config, row: Family, tokens: int) -> Iterator[Fact]:
    """The layers that see a window, and those without positions.

    Args:
        tokens: of the text, which a window may not be filled by.
    """
    depth, span = config.whole("depth"), config.whole("window", 0, 0)
    windows = _windows(config, row, depth)
    bare = _unpositioned(config, row, windows, span)
    if config.value("use_sliding_window") is False or not span:
        windows = [False] * depth
    elif any(windows) and span >= tokens:
        yield Fact(f"a window of {span} tokens, which {tokens} tokens do not fill")
        windows = [False] * depth
    words = [
        ("window" if window else "full") + ("-nope" if no else "")
        for window, no in zip(windows, bare, strict=True)
    ]
    cycle = next(n for n in range(1, depth + 1) if words == (words[:n] * depth)[:depth])
    if words[:cycle] == ["window"]:
        yield Fact(f"a window of {span} tokens", "tokens become alike sooner without", {"window": span})
    elif words[:cycle] != ["full"]:
        pattern = ",".join(words[:cycle])
        told = pattern if cycle <= SHOWN else f"a pattern of {cycle} layers"
        fields = {"attention_pattern": pattern} | ({"window": span} if any(windows) else {})
        yield Fact(f"layers that attend differently ({told})", PATTERN, fields)


def _windows(config: Config, row: Family, depth: int) -> list[bool]:
    """The layers that see a window, where there is one."""
    listed, kinds = config.listed("layer_types", depth), config.value("sliding_window_pattern")
    if listed is not None:
        return [kind in WINDOWED for kind in listed]
    if isinstance(kinds, int) and kinds > 0:  # all but every one so far
        return [(layer + 1) % kinds != 0 for layer in range(depth)]
    if isinstance(kinds, str) and kinds:  # L for local and G for global
        return [kinds[layer % len(kinds)] == "L" for layer in range(depth)]
    if config.value("use_sliding_window"):
        return [layer >= config.whole("max_window_layers", 0, 0) for layer in range(depth)]
    start = -depth if row.to_last else 0
    return [layer % row.period < row.window for layer in range(start, start + depth)]


def _unpositioned(config: Config, row: Family, windows: list[bool], span: int) -> list[bool]:
    """The layers without positions."""
    depth = len(windows)
    if row.unpositioned == "full" and span:
        return [not window for window in windows]
    if row.unpositioned == "listed":
        every = config.whole("no_rope_layer_interval", 4)
        listed = config.listed("no_rope_layers", depth)
        rotated = listed or [(layer + 1) % every for layer in range(depth)]
        return [not rotates for rotates in rotated]
    return [False] * depth


def rotary(config: Config, row: Family, head: int) -> Iterator[Fact]:
    """The base and the share of rotary embeddings, which some models have for each kind of layer."""
    table, near = _tables(config)
    base = table.size("rope_theta", config.size("rotary_base", row.base))
    local = near.size("rope_theta", config.size("rope_local_base_freq", base))
    if local != base:
        yield Fact(f"rotary base {base:g} in layers that see all tokens and {local:g} in others", SHORT)
    if local != 1e4:
        yield Fact(f"rotary base {local:g}", SHORT, {"rotary_base": local})
    share = table.size("partial_rotary_factor", config.size("rotary_share", row.share))
    if config.value("rotary_dim") is not None:
        share = config.size("rotary_dim", head) / head
    if share != 1:
        yield Fact(f"{share:.3g} of each head's coordinates rotate", PARTIAL, {"rotary_share": share})
    if table.value("rope_kind", "default") != "default":
        yield Fact("rotary frequencies stretched for longer texts")


def rotary_factor(config: Config) -> float:
    """The factor on rotated queries and keys that stretched frequencies come with."""
    table, _ = _tables(config)
    factor = 1.0
    if table.value("rope_kind") == "yarn" and not table.value("mscale_all_dim"):
        factor = 0.1 * log(max(1.0, table.size("factor", 1.0))) + 1
    return table.size("attention_factor", factor)


def logit_stretch(config: Config) -> float:
    """The factor on logits that stretched frequencies come with where queries and keys have none."""
    table, _ = _tables(config)
    size = table.size("mscale_all_dim", 0.0) if table.value("mscale_all_dim") else 0.0
    if table.value("rope_kind") != "yarn" or not size:
        return 1.0
    return (0.1 * size * log(max(1.0, table.size("factor", 1.0))) + 1) ** 2


def _tables(config: Config) -> tuple[Config, Config]:
    """The tables of rotary embeddings: of layers that see all tokens, and of those with a window."""
    both = config.within("rotary")
    full = both.within("full_attention")
    return (full, both.within("sliding_attention")) if full else (both, both.within("sliding_attention"))
