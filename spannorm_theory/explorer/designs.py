"""The designs whose curves the explorer holds: a fixed, short grid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..base.errors import InputError
from ..spec.architecture import Architecture
from ..spec.placements import PLACEMENTS
from ..spec.scalings import SCALINGS

#: rules beside the one that was published with a placement
RULES = ("unit", "depth-scaled-init")

#: what a reader chooses for each design, beside placement and rule
CHOICES: dict[str, tuple[int | str, ...]] = {
    "depth": (12, 48, 96),
    "activation": ("gelu", "swiglu"),
    "mask": ("none", "causal"),
}

#: what all designs have in common
SIZES: dict[str, Any] = {"width": 1024, "heads": 16, "tokens": 256}

#: blocks up to which every layer is kept; of a deeper stack these many at either end, and every fifth
ALL, ENDS, STEP = 24, 8, 5


def rules(placement: str) -> list[str]:
    """Scaling rules of a placement's designs: its own first, then those of :data:`RULES` that it takes."""
    found = []
    for rule in dict.fromkeys((PLACEMENTS[placement].scaling, *RULES)):
        try:
            SCALINGS[rule].check(placement)
        except InputError:
            continue
        found.append(rule)
    return found


def designs(placement: str) -> Iterator[Architecture]:
    """The designs of a placement, in the order of rules, then of :data:`CHOICES`."""
    for rule in rules(placement):
        for depth in CHOICES["depth"]:
            for activation in CHOICES["activation"]:
                for mask in CHOICES["mask"]:
                    chosen: dict[str, Any] = {"depth": depth, "activation": activation, "mask": mask}
                    yield Architecture(placement, rule, **SIZES, **chosen)


def key(arch: Architecture) -> str:
    """The name of a design in files and links, as span-norm.unit.48.gelu.none."""
    return ".".join(map(str, (arch.placement, arch.scaling, arch.depth, arch.activation, arch.mask)))


def shown_layers(depth: int) -> list[int]:
    """The boundaries between blocks, 0 to L, whose values are kept."""
    if depth <= ALL:
        return list(range(depth + 1))
    middle = range(ENDS, depth - ENDS, STEP)
    return [*range(ENDS), *middle, *range(depth - ENDS, depth + 1)]
