"""What a model type builds and its configuration does not say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: (key, value, changes of a row where a configuration has that value)
When = tuple[tuple[str, Any, dict[str, Any]], ...]


@dataclass(frozen=True)
class Family:
    """The row of a model type; the defaults are LLaMA's.

    Attributes:
        placement, scaling, norm, mask: fields of an architecture.
        gain: of every norm.
        qk_norm: of queries and keys: "head", "width", "none", "rope" (layers with positions only), or
            "values" (of each head's values, too).
        scale: of q.k, where it is not one over the root of the head width.
        gated: whether the feed-forward branch has a gate.
        epsilon, std, head, activation, base, share: values of keys that a file may leave out.
        positions: "rope", "learned", "alibi" or "none".
        unpositioned: layers without positions: "" (none), "full" (those that see all tokens) or "listed".
        window: layers that see a window, where a file does not list them: those of ``window`` out of each
            ``period``, from the first, or, if ``to_last``, such that a period ends with the last layer.
        rows: embeddings of second moment std^2 whose sum is a token; ``shared`` of them are the same for all.
        embedding: "" or "sqrt-width" (the sum is multiplied by it) or "norm" (it is normed).
        gates: of experts: "renormalised", "softmax" or "sigmoid" (renormalised), or "inputs" (sigmoids that
            multiply what an expert reads).
        shared_experts: of a file that does not say.
        gate: "" or the activation that is a gate of its own.
        sinks: whether every head has one.
        output_gate: whether sigmoids of a matrix multiply what attention puts out.
        mixers: a letter for each layer, over and over, where a file does not list them: s for softmax
            attention, m for another mixer of tokens.
        dense: first layers without experts, of a file that does not say.
        tied: whether the head is the embedding, where a file does not say.
        latents: of queries and keys: "normed", or "even", which are scaled such that queries, keys and values
            are as large as without any.
        twins: pairs of an attention and a feed-forward branch in one of the file's layers.
        shortcut: whether experts stand beside dense branches, and end one pair of branches later.
        groups: of layers that have their matrices in common, of a file that does not say; 0 for no such.
        missing: what every model of the type has and no architecture: (feature, effect).
        when: (key, value, changes of the row where the configuration has that value).
    """

    placement: str = "pre-norm"
    scaling: str = "unit"
    norm: str = "rms"
    mask: str = "causal"
    gain: float = 1.0
    qk_norm: str = "none"
    scale: float | None = None
    gated: bool = True
    epsilon: float = 1e-6
    std: float = 0.02
    head: int | None = None
    activation: str = "silu"
    positions: str = "rope"
    base: float = 1e4
    share: float = 1.0
    unpositioned: str = ""
    window: int = 0
    period: int = 1
    to_last: bool = False
    rows: int = 1
    shared: int = 0
    embedding: str = ""
    gates: str = "renormalised"
    shared_experts: int = 0
    gate: str = ""
    sinks: bool = False
    output_gate: bool = False
    mixers: str = ""
    dense: int = 0
    tied: bool = False
    latents: str = "normed"
    twins: int = 1
    shortcut: bool = False
    groups: int = 0
    missing: tuple[tuple[str, str], ...] = ()
    when: When = ()
