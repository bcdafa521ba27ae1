"""Values for the property tests: those that a field or an argument can have, odd ones, and hostile ones."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as draw

from spannorm_theory import activations, placements, scalings
from spannorm_theory.spec.fields import Fields

Values = draw.SearchStrategy[Any]

#: numbers at the edges of their types
EDGES = (
    0.0,
    -0.0,
    float("nan"),
    float("inf"),
    float("-inf"),
    5e-324,
    1e-300,
    1e300,
    1.8e308,
    -1e300,
    2.5,
    1e16,
)

numbers: Values = draw.one_of(
    draw.integers(-3, 40),
    draw.sampled_from([2**31, 2**63 - 1, 2**63, -(2**63), 10**30, 10**400]),
    draw.floats(),
    draw.sampled_from(EDGES),
    draw.builds(np.int64, draw.integers(-3, 40)),
    draw.builds(np.uint8, draw.integers(0, 40)),
    draw.builds(np.float64, draw.floats(-2, 2)),
    draw.builds(np.float32, draw.sampled_from([0.5, 1.0, float("nan"), float("inf")])),
    draw.builds(Fraction, draw.integers(-3, 3), draw.integers(1, 4)),
    draw.just(Decimal("0.5")),
    draw.complex_numbers(),
)
words: Values = draw.one_of(
    draw.text(max_size=12),
    draw.sampled_from(
        ["none", "None", "causal", "Pre-Norm", "pre_norm", "unit", "8", "1e3", "a=b", "(", "\\", "\0"]
    ),
    draw.sampled_from(
        ["x" * 10_000, "pre-norm\nunit", "😀", "pre-norm(", "pre-norm()", "1/0", "__import__('os')"]
    ),
    draw.builds(np.str_, draw.sampled_from(["none", "causal", "gelu"])),
)


class Loud:
    """An object whose text is long and of many lines."""

    def __repr__(self) -> str:
        return "line\n" * 1000


class Broken:
    """An object whose every question raises."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    __hash__ = None  # type: ignore[assignment]


objects: Values = draw.one_of(
    draw.none(),
    draw.booleans(),
    draw.sampled_from([np.True_, b"x", object(), Loud(), int, len, (), [], {}, set(), Ellipsis]),
    draw.builds(Broken),
    draw.lists(draw.integers(-2, 9), max_size=3),
    draw.builds(np.array, draw.lists(draw.floats(-1, 1), max_size=3)),
    draw.dictionaries(draw.text(max_size=3), draw.integers(), max_size=2),
)
anything: Values = draw.one_of(numbers, words, objects)


def mostly(usual: Values, odd: Values = anything) -> Values:
    """Four times in five a ``usual`` value."""
    return draw.sampled_from([usual] * 4 + [odd]).flatmap(lambda kind: kind)


#: placements, scaling rules and activations by the name of their registry
PLACEMENTS, SCALINGS, ACTIVATIONS = (tuple(found()) for found in (placements, scalings, activations))
#: those with an option, or with several streams
WITH_OPTIONS = (
    "siamese-norm(depth_scaling=False)",
    "siamese-norm( depth_scaling = False )",
    "mix-ln(fraction=0.5)",
    "swin-v2(gain=0.5)",
    "ngpt(rate=1)",
)

#: values of each field that some architecture has; sizes are small, so that a stack takes milliseconds
GOOD: dict[str, Values] = {
    "placement": draw.sampled_from([*PLACEMENTS, *WITH_OPTIONS]),
    "scaling": draw.sampled_from([*SCALINGS, "gpt2+completep", "depth-scaled-init+layerscale-18"]),
    "depth": draw.integers(1, 3),
    "width": draw.sampled_from([4, 8, 12, 16]),
    "heads": draw.sampled_from([1, 2, 4]),
    "tokens": draw.integers(2, 5),
    "activation": draw.sampled_from(ACTIVATIONS),
    "ffn_ratio": draw.sampled_from([0.25, 0.5, 1, 4.0, np.float64(2)]),
    "ffn_width": draw.sampled_from([None, 1, 5, 16]),
    "mask": draw.sampled_from(["none", "causal"]),
    "norm": draw.sampled_from(["rms", "layer"]),
    "norm_epsilon": draw.sampled_from([0.0, 0, 1e-6, 0.5, 1e12, 1e-200, 1e300]),
    "norm_gain": draw.sampled_from([1.0, 2, 0.5, 1e-12, 1e29, 1e300]),
    "qk_norm": draw.booleans(),
    "qkv_norm": draw.booleans(),
    "qk_norm_over": draw.sampled_from(["head", "width"]),
    "head_width": draw.sampled_from([None, None, 1, 2, 6]),
    "kv_heads": draw.sampled_from([None, 1, 2]),
    "latent_queries": draw.sampled_from([None, None, 4, 9]),
    "latent_keys": draw.sampled_from([None, None, 5, 40]),
    "positions": draw.sampled_from(["none", "rope"]),
    "rotary_base": draw.sampled_from([1e4, 1, 5e5, 0.5]),
    "rotary_share": draw.sampled_from([1.0, 1, 0.5, 0.3]),
    "window": draw.sampled_from([None, 2, 3]),
    "tied_head": draw.sampled_from([False, False, False, True]),
    "logit_cap": draw.sampled_from([None, None, None, 1, 30.0, 0.5]),
    "sinks": draw.booleans(),
    "attention_gate": draw.booleans(),
    "attention_pattern": draw.sampled_from([None, None, "full,window", "window-nope,full", "full-nope,full"]),
    "logit_scale": draw.sampled_from(["sqrt", "linear", 1, 0.25, 1e-20, 1e200]),
    "dropout": draw.sampled_from([0.0, 0.1, 0.999999]),
    "attention_dropout": draw.sampled_from([0.0, 0.1, 0.9]),
    "init": draw.one_of(
        draw.sampled_from(["fan-in", "xavier", "unit-branch"]),
        draw.sampled_from([0.02, 1.0, 1e-12, 1e6, 1e-200, 1e200]),
    ),
    "draw": draw.sampled_from(["normal", "truncated", "uniform", "orthogonal"]),
    "unique_blocks": draw.sampled_from([None, None, None, 1, 2]),
    "copied": draw.sampled_from([False, False, False, True]),
    "logit_variance": draw.sampled_from([None, 0, 0.5, 4.0, 1e-12, 1e6, 1e300]),
    "inputs": draw.sampled_from(["gaussian", "zipf", "uniform"]),
    "input_variance": draw.sampled_from([1.0, 2, 1e-6, 1e6, 1e-200, 1e200, 1e-300]),
    "input_cosine": draw.sampled_from([0.0, 0.5, -0.2, -0.0, 1 - 1e-9, 1 - 1e-16]),
    "position_variance": draw.sampled_from([0.0, 0.5, 1e-12, 1e200]),
    "loss": draw.sampled_from(["probe", "mean", "last", "cross-entropy"]),
    "vocabulary": draw.sampled_from([2, 3, 50, 32_000]),
    "batch": draw.sampled_from([1, 2, 5]),
    "head_gain": draw.sampled_from([1.0, 0.3, 256, 1e-12, 1e60]),
    "embedding_multiplier": draw.sampled_from([1.0, 16, 1e-6]),
    "logit_multiplier": draw.sampled_from([1.0, 0.0625]),
    "experts": draw.sampled_from([1, 2, 4]),
    "top_k": draw.sampled_from([1, 2]),
    "shared_experts": draw.sampled_from([0, 1]),
    "dense_layers": draw.sampled_from([0, 1]),
    "dense_ffn_width": draw.sampled_from([None, 4, 7]),
    "gates": draw.sampled_from(["renormalised", "softmax", "sigmoid"]),
    "router_gain": draw.sampled_from([None, 0.5, 4.0, 1e-12, 1e5, 1e12]),
    "routed_scale": draw.sampled_from([1.0, 2.5, 1e-12]),
    "shared_gate": draw.booleans(),
    "expert_groups": draw.sampled_from([1, 2]),
    "top_groups": draw.sampled_from([1, 2]),
}
assert set(GOOD) == set(Fields.__dataclass_fields__)

#: fields that most stacks leave alone, so that most combinations are architectures
SIZES = ("placement", "depth", "width", "heads", "tokens")
RARE = tuple(name for name in GOOD if name not in SIZES)


@draw.composite
def good_fields(draw_one: draw.DrawFn, most: int = 5) -> dict[str, Any]:
    """Fields that are an architecture more often than not: sizes, and at most ``most`` others."""
    names = [*SIZES, *draw_one(draw.lists(draw.sampled_from(RARE), max_size=most, unique=True))]
    return {name: draw_one(GOOD[name]) for name in names}


@draw.composite
def odd_fields(draw_one: draw.DrawFn) -> dict[str, Any]:
    """Fields of which one or two are anything."""
    found = draw_one(good_fields(3))
    for name in draw_one(draw.lists(draw.sampled_from([*GOOD, "deep", "layers"]), min_size=1, max_size=2)):
        found[name] = draw_one(anything)
    return found
