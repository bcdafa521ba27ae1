"""What a prediction leaves out, and why: the one place that takes numbers out of profiles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..base.quantities import OUTPUT, QUANTITIES, Key
from ..gaussian.closed_forms import Array
from ..spec.architecture import Architecture
from .room import fits, sampled_seconds

#: rows that answer to how networks differ in how alike tokens are, and why they are left out
QUERIES_AND_KEYS: list[Key] = [("attn.query", "weight_grad_norm"), ("attn.key", "weight_grad_norm")]
UNBOUNDED = "networks differ in how alike tokens are by more than leading order in depth over width can say"

#: the sum over all gradients of matrices
TOTAL: Key = (OUTPUT, "global_grad_norm")

Where = NDArray[np.bool_] | bool


@dataclass(frozen=True)
class Omission:
    """Rows of a prediction that have no number, for one reason.

    Attributes:
        keys: the (stream, quantity) of these rows; of a weight gradient the stream is its matrix.
        layers: those without a number.
        all: whether no layer has one.
        reason: why.
        instead: what has them; empty where nothing has.
    """

    keys: tuple[Key, ...]
    layers: tuple[int, ...]
    all: bool
    reason: str
    instead: str

    def __str__(self) -> str:
        """One line, such as "weight_grad_norm [attn.query, attn.key] from block 3 on: why; what has them"."""
        streams, quantities = (", ".join(dict.fromkeys(names)) for names in zip(*self.keys, strict=True))
        first, last = self.layers[0], self.layers[-1]
        layer = "block" if QUANTITIES[self.keys[0][1]].per_block else "layer"
        where = ""
        if not self.all and len(self.layers) == 1:
            where = f" at {layer} {first}"
        elif not self.all:
            where = f" at {len(self.layers)} {layer}s from {first} to {last}"
        return f"{quantities} [{streams}]{where}: {'; '.join(filter(None, (self.reason, self.instead)))}"


def leave_out(
    arch: Architecture,
    profiles: dict[Key, Array],
    keys: Iterable[Key],
    reason: str,
    where: Where | Mapping[Key, Where] = True,
    sampled: bool = False,
) -> list[Omission]:
    """Take numbers out of profiles (NaN), and say so.

    Args:
        arch: whose prediction it is.
        keys: of the profiles that lose numbers, where there are such; what was lost before keeps its reason.
        where: layers that do, of all or by key.
        sampled: whether the theory with sampled heads has them; else networks do.
    """
    instead = "simulate(...) measures them"
    if sampled and fits(arch, "sampled"):
        instead = f"theory='sampled' has them, in about {sampled_seconds(arch):.2g} s"
    alike: dict[tuple[tuple[int, ...], bool], list[Key]] = {}
    for key in keys:
        if key not in profiles:
            continue
        known = ~np.isnan(profiles[key])
        taken = (where[key] if isinstance(where, Mapping) else where) & known
        if taken.any():
            profiles[key] = np.where(taken, np.nan, profiles[key])
            layers = tuple(np.flatnonzero(taken).tolist())
            alike.setdefault((layers, bool(taken.all())), []).append(key)
    return [Omission(tuple(some), *layers, reason, instead) for layers, some in alike.items()]


def settle(profiles: dict[Key, Array], found: list[Omission]) -> tuple[Omission, ...]:
    """All omissions of a prediction: those ``found``, of sums over them, and of what is no number by
    itself."""
    said = {(key, layer) for one in found for key in one.keys for layer in one.layers}
    weights = [one for one in found if one.keys[0][1] == "weight_grad_norm"]
    for key, profile in profiles.items():
        rest = [layer for layer in np.flatnonzero(np.isnan(profile)).tolist() if (key, layer) not in said]
        reason, instead = "a ratio to what is zero there", ""
        if key == TOTAL and weights:
            reason, instead = (
                "it adds up all gradients of matrices, of which some are left out",
                weights[0].instead,
            )
        if rest:
            found = [*found, Omission((key,), tuple(rest), len(rest) == len(profile), reason, instead)]
    return tuple(found)
