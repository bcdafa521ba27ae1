"""What people call the matrices of a block: the table from which roles are read.

A matrix goes by the last word of its path; words that attention and feed-forward share are told apart by the
matrices that stand beside them, and then by the words in front.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

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
    **dict.fromkeys(
        ("q_proj", "query", "q", "wq", "q_lin", "to_q", "query_proj", "linear_q", "c_q", "w_q"), QUERY
    ),
    **dict.fromkeys(("k_proj", "key", "k", "wk", "k_lin", "to_k", "key_proj", "linear_k", "c_k", "w_k"), KEY),
    **dict.fromkeys(
        ("v_proj", "value", "v", "wv", "v_lin", "to_v", "value_proj", "linear_v", "c_v", "w_v"), VALUE
    ),
    **dict.fromkeys(("o_proj", "out_lin", "to_out", "linear_proj", "attn_out"), OUTPUT),
    **dict.fromkeys(
        ("c_attn", "wqkv", "qkv", "qkv_proj", "in_proj_weight", "in_proj", "to_qkv", "w_qkv"), STACKED
    ),
    **dict.fromkeys(("query_key_value", "linear_qkv"), GROUPED),
    **dict.fromkeys(("up_proj", "fc1", "fc_in", "c_fc", "dense_h_to_4h", "lin1", "linear1", "w3"), UP),
    **dict.fromkeys(("up", "wi", "wi_1", "fc", "linear_fc1", "ff_in", "v1", "w_in", "w_up"), UP),
    **dict.fromkeys(("down_proj", "fc2", "fc_out", "dense_4h_to_h", "lin2", "linear2", "w2"), DOWN),
    **dict.fromkeys(("down", "linear_fc2", "ff_out", "w_down"), DOWN),
    **dict.fromkeys(("gate_proj", "wi_0", "w_gate"), GATE),
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
ENDS = (
    "dense", "c_proj", "proj", "out", "o", "wo", "out_proj", "output", "projection", "w_o", "w_out",
)  # fmt: skip
END = "end of a branch"

#: what tells a branch by its matrices
OF_ATTENTION = frozenset((QUERY, KEY, VALUE, STACKED, GROUPED, LATENT, FROM_LATENT, QUERY_DOWN))
OF_FFN = frozenset((UP, GATE, GATE_UP, "w1"))

_ATTENTION = re.compile(r"att|mha|^self$")
_CROSS = re.compile(r"cross|encdec|encoder_attn|multihead_attn")
_EXPERTS = re.compile(r"expert|shared|moe")


def roles_by_name(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str | None]:
    """The role, or the kind of fused matrix, that the path of each of a block's matrices says; None where it
    says none, and where matrices of several branches say the same.

    Cross-attention has roles of its own, as ``cross.query``.

    Args:
        shapes: of the matrices, by their paths in the block.
    """
    words = {name: _alone(name) for name in shapes}
    for name in [name for name, word in words.items() if word == END]:
        attention = _beside(name, words)
        words[name] = OUTPUT if (_in_attention(name) if attention is None else attention) else DOWN
    words = {name: _crossed(name, word) for name, word in words.items()}
    for role in dict.fromkeys(words.values()):
        words |= dict.fromkeys(_not_one([n for n, word in words.items() if word == role], shapes))
    return words


def _alone(path: str) -> str | None:
    """The role that a path says by itself; one of ``ENDS``, "w1" and "gate" is of two meanings."""
    *before, leaf = _words(path)
    if leaf == "classifier" and "router" in before:
        leaf = "router"
    if leaf == "dense" and "intermediate" in before:
        return UP
    if leaf in ENDS:
        return END
    role = leaf if leaf in ("w1", "gate") else ANYWHERE.get(leaf)
    of_ffn = role in OF_FFN or role in (DOWN, "gate")
    return None if of_ffn and _in_attention(path) else role


def _words(path: str) -> list[str]:
    return path.removesuffix(".weight").lower().split(".")


def _in_attention(path: str) -> bool:
    return any(_ATTENTION.search(word) for word in _words(path)[:-1])


def _crossed(path: str, role: str | None) -> str | None:
    if role is None or not any(_CROSS.search(word) for word in _words(path)[:-1]):
        return role
    return f"cross.{role.removeprefix('attn.').replace(' ', '_')}"


def _beside(name: str, words: Mapping[str, str | None]) -> bool | None:
    """Whether the matrices of the innermost module around a matrix that holds others with a role of one
    branch are attention's; None where it holds those of both, or none does."""
    for near in _around(name, words):
        kinds = {words[other] for other in near}
        attention, ffn = bool(kinds & OF_ATTENTION), bool(kinds & OF_FFN)
        if attention or ffn:
            return None if attention and ffn else attention
    return None


def _around(name: str, names: Iterable[str]) -> Iterator[list[str]]:
    """The matrices that the modules around one hold directly, and then below them, from the inside out; of
    the block itself only the former."""
    module = _module(name)
    while module:
        yield [other for other in names if _module(other) == module]
        yield [other for other in names if other.startswith(f"{module}.")]
        module = module.rpartition(".")[0]
    yield [other for other in names if not _module(other)]


def _module(path: str) -> str:
    return path.removesuffix(".weight").rpartition(".")[0]


def _not_one(names: Iterable[str], shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Matrices that cannot have one role: those of other shapes, or by other paths than numbers tell apart,
    but for experts. The outermost of them keep it where they are alike."""
    kinds: dict[tuple[tuple[str, ...], tuple[int, ...]], list[str]] = {}
    for name in names:
        if _EXPERTS.search(name.lower()):
            return []
        path = tuple("" if word.isdigit() else word for word in _words(name))
        kinds.setdefault((path, shapes[name][-2:]), []).append(name)
    least = min((len(path) for path, _ in kinds), default=0)
    outermost = [kind for kind in kinds if len(kind[0]) == least]
    kept = outermost if len(outermost) == 1 else []
    return [name for kind, those in kinds.items() if kind not in kept for name in those]
