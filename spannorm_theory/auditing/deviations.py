"""Single things in which a module, as its tensors and its run show it, is not the architecture that is
expected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..spec.architecture import Architecture
from ..spec.fields import Fields
from .scheme import stds_of

Array = NDArray[np.float64]

#: relative difference of a standard deviation that counts, and standard errors that it must be beyond
COUNTS, BEYOND = 0.03, 4.5

#: the name of the deviation of blocks that hold the same numbers
EQUAL = "equal blocks"

#: fields whose default is no likelier than other values
NO_LIKELIER = ("activation", "heads", "mask")

#: the matrix whose gain is a field of its own
ROUTER = "ffn.router"

#: fields that a module's parts do not show, or that matrices show one by one
NOT_SHOWN = (
    "placement", "scaling", "init", "logit_variance", "inputs", "input_variance", "input_cosine",
    "position_variance", "loss", "vocabulary", "dropout", "attention_dropout", "gates", "router_gain",
)  # fmt: skip


@dataclass(frozen=True)
class Deviation:
    """One thing that is not as expected.

    Attributes:
        what: a role of matrices, as "ffn.down", a field of the architecture, "input", or ``EQUAL``.
        layers: the blocks that have it; empty for the whole stack.
        sentence: in words, with the numbers.
    """

    what: str
    layers: tuple[int, ...]
    sentence: str

    def __str__(self) -> str:
        return self.sentence


def deviations(
    table: pd.DataFrame, shown: Architecture, expected: Architecture, rule: str, input_moment: float
) -> list[Deviation]:
    """Everything in which a module that was read is not as expected, matrices in the order of their layers.

    Args:
        table: its matrices, of :func:`.matrices.table_of`.
        shown: the architecture that it shows.
        expected: the one that it should be, of the same depth and width.
        rule: how that one's initialisation is called in words.
        input_moment: the second moment of its stream in front of the first block.
    """
    inside = table[table["layer"].notna() & (table["std"] > 0)]
    found = [*_copies(inside), *_input(input_moment, expected)]
    found += _fields(shown, expected)
    matrices = [_matrix(role, part, stds, rule) for role, part, stds in _roles(inside, expected)]
    return [*found, *sorted(filter(None, matrices), key=lambda one: one.layers[0])]


def _copies(table: pd.DataFrame) -> Iterator[Deviation]:
    """Blocks with the same numbers in all their matrices: independent draws have different second moments to
    all digits."""
    columns = table.groupby("layer")["std"].agg(tuple)
    groups = columns.groupby(columns).groups.values()
    for layers in (tuple(int(layer) for layer in group) for group in groups if len(group) > 1):
        sentence = (
            f"{_blocks(layers, len(columns))} hold the same numbers: they were copied from one, and are not "
            "independent draws"
        )
        yield Deviation(EQUAL, layers, sentence[0].upper() + sentence[1:])


def _input(moment: float, expected: Architecture) -> Iterator[Deviation]:
    ratio = moment / expected.input_second_moment
    noise = (2 / (expected.tokens * expected.width)) ** 0.5
    if abs(np.log(ratio)) > COUNTS + BEYOND * noise:
        yield Deviation(
            "input",
            (),
            f"The stream starts with the second moment {moment:.3g}, {_times(ratio)} the expected "
            f"{expected.input_second_moment:.3g}: the embedding is scaled by {ratio**0.5:.3g}",
        )


def _fields(shown: Architecture, expected: Architecture) -> Iterator[Deviation]:
    for name in (field.name for field in fields(Fields)):
        own, wanted = getattr(shown, name), getattr(expected, name)
        if name not in NOT_SHOWN and not _same(own, wanted):
            yield Deviation(name, (), f"{name} is {_shown(own)} where {_shown(wanted)} is expected")


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= COUNTS * max(abs(one), abs(other))
    return bool(one == other)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else repr(value)


def _roles(table: pd.DataFrame, expected: Architecture) -> Iterator[tuple[str, pd.DataFrame, Array]]:
    """Each role that both have, its rows, and the expected standard deviation of each."""
    stds = stds_of(expected)
    for role, part in table.groupby("role", sort=False):
        if role in stds:
            yield str(role), part, stds[str(role)][part["layer"].to_numpy(dtype=int)]


def _matrix(role: str, part: pd.DataFrame, expected: Array, rule: str) -> Deviation | None:
    with np.errstate(divide="ignore"):
        ratio = pd.Series(part["std"].to_numpy() / expected, part["layer"].to_numpy(dtype=int))
    error = part["se"].to_numpy() / part["gain"].to_numpy() / 2
    off = np.abs(np.log(ratio.to_numpy())) > np.maximum(COUNTS, BEYOND * error)
    if not off.any():
        return None
    layers, by_layer = tuple(sorted(set(ratio.index[off]))), ratio[off].groupby(level=0).mean()
    low, high = by_layer.min(), by_layer.max()
    alike = np.log(high / low) < max(COUNTS, 2 * BEYOND * float(error.max()))
    how = _times(float(by_layer.mean())) if alike else f"{low:.2g} to {high:.2g} times"
    count = part["layer"].nunique()
    return Deviation(role, layers, f"{role} of {_blocks(layers, count)}: {how} the std of {rule}")


def _times(ratio: float) -> str:
    return f"{ratio:.3g} times" if 0.1 <= ratio < 100 else f"{ratio:.2g} times"


def _blocks(layers: Sequence[int], count: int) -> str:
    """Blocks in words: all, one, a run, or a list."""
    if len(layers) == count:
        return "all blocks"
    if len(layers) == 1:
        return f"block {layers[0]}"
    if list(layers) == list(range(layers[0], layers[-1] + 1)):
        return f"blocks {layers[0]} to {layers[-1]}"
    return f"blocks {', '.join(map(str, layers))}"


def not_shown(expected: Architecture, shown: frozenset[str]) -> dict[str, Any]:
    """The fields that are expected to be other than the default, or have none that is likelier than others,
    and of which a module shows nothing: they are taken as expected."""
    plain = {field.name: field.default for field in fields(Fields)}
    return {
        name: value
        for name, value in expected.to_dict().items()
        if name not in (*shown, *NOT_SHOWN) and (value != plain[name] or name in NO_LIKELIER)
    }


def as_found(table: pd.DataFrame, shown: Architecture, found: Sequence[Deviation]) -> dict[str, Any]:
    """The fields of an architecture, but for its initialisation, in which one that is shown deviates."""
    names = {field.name for field in fields(Fields)}
    changed = {one.what: getattr(shown, one.what) for one in found if one.what in names}
    if any(one.what == "input" for one in found):
        changed["input_variance"] = shown.input_variance
    if any(one.what == ROUTER for one in found):
        changed["router_gain"] = float(table.loc[table["role"] == ROUTER, "gain"].mean())
    return changed
