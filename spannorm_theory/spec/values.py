"""The value that each field of an architecture has by itself, in its one plain form.

Numbers of numpy are numbers, whole numbers stand for real ones, and zero has no sign: two architectures of
one meaning are equal, and their text forms are.
"""

from __future__ import annotations

from typing import Any

from ..base.arguments import choice, flag, number, real, whole
from ..base.errors import InputError
from ..base.names import plain
from ..gaussian.activations import ACTIVATIONS
from .fields import LOGIT_POWERS, Fields
from .initialisation import NAMED_INITS
from .reach import POSITIONS, plain_pattern
from .token_law import LAWS

#: the names that a field can have
NAMES = {
    "mask": ("none", "causal"),
    "norm": ("rms", "layer"),
    "inputs": ("gaussian", *LAWS),
    "loss": ("probe", "mean", "last", "cross-entropy"),
    "gates": ("renormalised", "softmax", "sigmoid"),
    "positions": POSITIONS,
    "draw": ("normal", "truncated", "uniform", "orthogonal"),
    "qk_norm_over": ("head", "width"),
}
FLAGS = ("copied", "qk_norm", "qkv_norm", "shared_gate", "sinks", "attention_gate", "tied_head")
#: fields whose value is a name, and reads as one whatever it looks like
TEXTS = ("placement", "scaling", "activation", *NAMES)
#: the smallest rank of a latent: the norm of fewer coordinates has no gradient of finite second moment
SMALLEST_RANK = 4
#: the least value of the fields that count something
LEAST = {
    "depth": 1,
    "width": 1,
    "heads": 1,
    "tokens": 2,
    "unique_blocks": 1,
    "batch": 1,
    "vocabulary": 2,
    "experts": 1,
    "top_k": 1,
    "shared_experts": 0,
    "head_width": 1,
    "kv_heads": 1,
    "latent_queries": SMALLEST_RANK,
    "latent_keys": SMALLEST_RANK,
    "window": 2,
    "ffn_width": 1,
    "expert_groups": 1,
    "top_groups": 1,
    "dense_layers": 0,
    "dense_ffn_width": 1,
}
#: the largest of them, up to which float64 counts
MOST = 2**53

#: the smallest and largest second moment of a field but zero: Monte Carlo holds its root in float32
SMALLEST, LARGEST = 1e-60, 1e60
#: the largest gain of a router: beyond, choices are maxima whose near ties the theory does not resolve
LARGEST_ROUTER = 1e5
#: the largest epsilon of norms: what a few blocks take away by it is a float64 still
LARGEST_EPSILON = 1e12


def plain_values(arch: Fields) -> dict[str, Any]:
    """Every field but placement and scaling in its plain form.

    Raises:
        InputError: a value that the field has in no architecture.
    """
    values: dict[str, Any] = {"activation": plain(ACTIVATIONS[arch.activation].name)}
    for name, known in NAMES.items():
        values[name] = plain(choice(name, getattr(arch, name), known))
    for name in FLAGS:
        values[name] = flag(name, getattr(arch, name))
    for name, least in LEAST.items():
        value = getattr(arch, name)
        optional = getattr(type(arch), name) is None
        values[name] = None if optional and value is None else _count(name, value, least)
    for name in ("ffn_ratio", "input_variance", "embedding_multiplier", "head_gain", "logit_multiplier"):
        values[name] = _size(name, getattr(arch, name))
    for name in ("dropout", "attention_dropout"):
        wanted = "a probability in [0, 1)"
        values[name] = real(name, getattr(arch, name), wanted, lambda x: 0 <= x < 1)
    wanted = f"0, or a number in [{SMALLEST:.0e}, {LARGEST_EPSILON:.0e}]"
    values["norm_epsilon"] = real(
        "norm_epsilon",
        arch.norm_epsilon,
        wanted,
        lambda x: x == 0 or SMALLEST <= x <= LARGEST_EPSILON,
    )
    values["norm_gain"] = _size("norm_gain", arch.norm_gain, power=0.5)
    values["rotary_base"] = real("rotary_base", arch.rotary_base, "a number of at least 1", lambda x: x >= 1)
    wanted = "a share in (0, 1]"
    values["rotary_share"] = real("rotary_share", arch.rotary_share, wanted, lambda x: 0 < x <= 1)
    values["position_variance"] = _size("position_variance", arch.position_variance, zero=True)
    values["input_cosine"] = real("input_cosine", arch.input_cosine)
    values["routed_scale"] = _size("routed_scale", arch.routed_scale, power=0.5)
    if arch.router_gain is not None:
        wanted = f"a positive number up to {LARGEST_ROUTER:.0e}"
        values["router_gain"] = real(
            "router_gain", arch.router_gain, wanted, lambda x: SMALLEST <= x <= LARGEST_ROUTER
        )
    values["init"] = _name_or_size("init", arch.init, NAMED_INITS)
    values["attention_pattern"] = plain_pattern(arch.attention_pattern)
    values["logit_scale"] = _name_or_size("logit_scale", arch.logit_scale, tuple(LOGIT_POWERS))
    if arch.logit_cap is not None:
        values["logit_cap"] = real("logit_cap", arch.logit_cap, "a number of at least 1", lambda x: x >= 1)
    if arch.logit_variance is not None:
        values["logit_variance"] = _size("logit_variance", arch.logit_variance, zero=True)
    return values


def _count(name: str, value: Any, least: int) -> int:
    found = whole(name, value, least)
    if found > MOST:
        raise InputError(f"{name} must be at most 2^53 = {MOST}, got a larger number")
    return found


def _size(name: str, value: Any, zero: bool = False, power: float = 1.0) -> float:
    """A positive number, the ``power`` of a second moment; with ``zero`` also that."""
    found = number(name, value, zero=zero)
    smallest, largest = SMALLEST**power, LARGEST**power
    if found and not smallest <= found <= largest:
        raise InputError(
            f"{name} must lie between {smallest:.0e} and {largest:.0e}{' or be 0' if zero else ''}, beyond "
            f"which float32 does not hold what it makes; got {found!r}"
        )
    return found


def _name_or_size(name: str, value: Any, known: tuple[str, ...]) -> str | float:
    """One of the ``known`` names, or a positive number, the root of a second moment."""
    if isinstance(value, str):
        return plain(choice(name, value, known))
    return _size(name, value, power=0.5)
