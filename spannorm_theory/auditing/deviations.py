"""Single things in which a module, as its tensors and its run show it, is not the architecture that is
expected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..spec.architecture import Architecture
from ..spec.fields import Fields
from .deviation import BEYOND, COUNTS, Deviation, blocks_in_words, differs, number
from .scheme import stds_of

Array = NDArray[np.float64]

#: fields whose default is no likelier than other values
NO_LIKELIER = ("activation", "heads", "mask")

#: fields that norms show one by one
OF_NORMS = ("norm_epsilon", "norm_gain")

#: the matrix whose gain is a field of its own
ROUTER = "ffn.router"

#: fields that a module's parts do not show, or that matrices show one by one
NOT_SHOWN = (
    "placement", "scaling", "init", "logit_variance", "inputs", "input_variance", "input_cosine",
    "position_variance", "loss", "vocabulary", "dropout", "attention_dropout", "gates", "router_gain",
)  # fmt: skip


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
    inside = table[table["layer"].notna()]
    found = [*_input(input_moment, expected), *_fields(shown, expected)]
    matrices = [
        one for role, part, stds in _roles(inside, expected) for one in _matrices(role, part, stds, rule)
    ]
    return [*found, *sorted(matrices, key=lambda one: one.layers[0])]


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
        if name not in (*NOT_SHOWN, *OF_NORMS) and not _same(own, wanted):
            yield Deviation(name, (), f"{name} is {_shown(own)} where {_shown(wanted)} is expected")


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return not differs(one, other)
    return bool(one == other)


def _shown(value: Any) -> str:
    return number(value) if isinstance(value, float) else repr(value)


def _roles(table: pd.DataFrame, expected: Architecture) -> Iterator[tuple[str, pd.DataFrame, Array]]:
    """Each role that both have, its rows, and the expected standard deviation of each."""
    stds = stds_of(expected)
    for role, part in table.groupby("role", sort=False):
        if role in stds:
            yield str(role), part, stds[str(role)][part["layer"].to_numpy(dtype=int)]


def _matrices(role: str, part: pd.DataFrame, expected: Array, rule: str) -> Iterator[Deviation]:
    """The matrices of a role that are zero and should not be or the other way round, and those of another
    size."""
    layers, own = part["layer"].to_numpy(dtype=int), part["std"].to_numpy(dtype=float)
    count = part["layer"].nunique()
    for said, odd in (("zero", (own == 0) & (expected > 0)), ("not zero", (own > 0) & (expected == 0))):
        if odd.any():
            found = tuple(sorted(set(layers[odd].tolist())))
            wanted = "zero" if said == "not zero" else f"{float(expected[odd].mean()):.3g}"
            where = blocks_in_words(found, count)
            yield Deviation(role, found, f"{role} of {where}: {said}, where the std of {rule} is {wanted}")
    both = (own > 0) & (expected > 0)
    if both.any():
        yield from _sizes(role, part[both], expected[both], rule, count)


def _sizes(role: str, part: pd.DataFrame, expected: Array, rule: str, count: int) -> Iterator[Deviation]:
    ratio = pd.Series(part["std"].to_numpy() / expected, part["layer"].to_numpy(dtype=int))
    error = part["se"].to_numpy() / part["gain"].to_numpy() / 2
    off = np.abs(np.log(ratio.to_numpy())) > np.maximum(COUNTS, BEYOND * error)
    if not off.any():
        return
    layers, by_layer = tuple(sorted(set(ratio.index[off]))), ratio[off].groupby(level=0).mean()
    low, high = by_layer.min(), by_layer.max()
    alike = np.log(high / low) < max(COUNTS, 2 * BEYOND * float(error.max()))
    how = _times(float(by_layer.mean())) if alike else f"{low:.2g} to {high:.2g} times"
    where = blocks_in_words(layers, count)
    yield Deviation(role, layers, f"{role} of {where}: {how} the std of {rule}")


def _times(ratio: float) -> str:
    return f"{ratio:.3g} times" if 0.1 <= ratio < 100 else f"{ratio:.2g} times"


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
    gain = float(table.loc[table["role"] == ROUTER, "gain"].mean())
    if any(one.what == ROUTER for one in found) and gain:
        changed["router_gain"] = gain
    return changed


def undescribed(table: pd.DataFrame, found: Sequence[Deviation]) -> tuple[str, ...]:
    """What no theory has of the matrices that deviate, in words."""
    routers = table[table["role"] == ROUTER]
    zero = any(one.what == ROUTER for one in found) and bool((routers["std"] == 0).any())
    return ("routers that are zero and choose the same experts for all tokens",) if zero else ()
