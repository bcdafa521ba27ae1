"""What people call the matrices of a block: the table from which roles are read.

A matrix goes by the last word of its path; words that attention and feed-forward share are told apart by the
words in front.
"""

from __future__ import annotations

import re

#: roles that an architecture has
QUERY, KEY, VALUE, OUTPUT = "attn.query", "attn.key", "attn.value", "attn.output"
QUERY_DOWN, KEY_DOWN = "attn.query_down", "attn.key_down"
UP, GATE, DOWN, ROUTER = "ffn.up", "ffn.gate", "ffn.down", "ffn.router"

#: several roles in one matrix: queries, keys and values as three pieces or group by group; gate and up; what
#: keys and values are projected from, with keys that have no latent behind it; keys and values head by head
STACKED, GROUPED, GATE_UP = "qkv stacked", "qkv grouped", "gate and up"
LATENT, FROM_LATENT = "latent and key", "keys and values from a latent"
#: the part of keys that has no latent, which no architecture has
ROTARY_KEY = "attn.rotary_key"

#: the last word of a path, and the role that it says anywhere
ANYWHERE: dict[str, str] = {
    **dict.fromkeys(("q_proj", "query", "q", "wq", "q_lin", "to_q", "query_proj", "linear_q", "c_q"), QUERY),
    **dict.fromkeys(("k_proj", "key", "k", "wk", "k_lin", "to_k", "key_proj", "linear_k", "c_k"), KEY),
    **dict.fromkeys(("v_proj", "value", "v", "wv", "v_lin", "to_v", "value_proj", "linear_v", "c_v"), VALUE),
    **dict.fromkeys(("o_proj", "out_lin", "to_out", "linear_proj", "attn_out"), OUTPUT),
    **dict.fromkeys(("c_attn", "wqkv", "qkv", "qkv_proj", "in_proj_weight", "in_proj", "to_qkv"), STACKED),
    **dict.fromkeys(("query_key_value", "linear_qkv"), GROUPED),
    **dict.fromkeys(("up_proj", "fc1", "fc_in", "c_fc", "dense_h_to_4h", "lin1", "linear1", "w3"), UP),
    **dict.fromkeys(("up", "wi", "wi_1", "fc", "linear_fc1", "ff_in", "v1"), UP),
    **dict.fromkeys(("down_proj", "fc2", "fc_out", "dense_4h_to_h", "lin2", "linear2", "w2"), DOWN),
    **dict.fromkeys(("down", "linear_fc2", "ff_out"), DOWN),
    **dict.fromkeys(("gate_proj", "wi_0"), GATE),
    **dict.fromkeys(("gate_up_proj", "up_gate_proj", "w12"), GATE_UP),
    **dict.fromkeys(("router", "gate_linear", "switch"), ROUTER),
    **dict.fromkeys(("q_a_proj", "wq_a"), QUERY_DOWN),
    **dict.fromkeys(("q_b_proj", "wq_b"), QUERY),
    **dict.fromkeys(("kv_a_proj_with_mqa", "kv_a_proj", "wkv_a"), LATENT),
    **dict.fromkeys(("kv_b_proj", "wkv_b"), FROM_LATENT),
    **dict.fromkeys(("k_b_proj", "wk_b"), KEY),
    **dict.fromkeys(("v_b_proj", "wv_b"), VALUE),
    "shared_expert_gate": "ffn.shared_gate",
}

#: words that end a branch: the role in attention, and elsewhere
ENDS = ("dense", "c_proj", "proj", "out", "o", "wo", "out_proj", "output")

_ATTENTION = re.compile(r"att|mha|^self$")
_CROSS = re.compile(r"cross|encdec|encoder_attn|multihead_attn")


def role_by_name(path: str) -> str | None:
    """The role, or the kind of fused matrix, that a parameter's path in its block says; None where it says
    none.

    Cross-attention has roles of its own, as ``cross.query``.
    """
    words = path.removesuffix(".weight").lower().split(".")
    leaf, before = words[-1], words[:-1]
    attention = any(_ATTENTION.search(word) for word in before)
    if leaf == "classifier" and "router" in before:
        leaf = "router"
    role = ANYWHERE.get(leaf)
    if leaf == "dense" and "intermediate" in before:
        role = UP
    elif leaf in ENDS:
        role = OUTPUT if attention else DOWN
    elif leaf in ("w1", "gate"):  # which of two it is depends on what stands beside it
        role = leaf
    if role is not None and any(_CROSS.search(word) for word in before):
        return f"cross.{role.removeprefix('attn.').replace(' ', '_')}"
    return role
