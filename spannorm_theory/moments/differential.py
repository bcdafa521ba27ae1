"""Derivatives of a block's moments in the numbers that its step takes, compiled from the same expressions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from sympy import Expr, Symbol, lambdify

from ..gaussian.closed_forms import Array

#: derivatives of one moment that are not zero, by the place of the number among those that the step takes
Gradient = dict[int, Any]


class Differential:
    """Derivatives of (q, delta) at the input of each branch and of the outgoing stream pairs."""

    def __init__(
        self,
        inputs: Sequence[tuple[Expr, Expr]],
        outputs: Sequence[tuple[Expr, Expr]],
        numbers: Sequence[Symbol],
        multipliers: Sequence[Symbol],
    ) -> None:
        """``numbers`` are the (q, delta) of every stream pair, then of every branch."""
        self._places: list[list[int]] = []
        entries: list[Expr] = []

        def add(moment: Expr, first: int, step: int) -> None:
            found = {at: moment.diff(numbers[at]) for at in range(first, len(numbers), step)}
            self._places.append([at for at, entry in found.items() if entry != 0])
            entries.extend(entry for entry in found.values() if entry != 0)

        self._whole = len(inputs) + 1
        for q, delta in [*inputs, outputs[0]]:
            add(q, 0, 1)
            add(delta, 0, 1)
        for _, delta in outputs[1:]:
            add(delta, 1, 2)
        self._compiled: Callable[..., list[Any]] = lambdify(
            [*numbers, *multipliers], entries, "numpy", cse=True
        )

    def __call__(
        self, known: Array, multipliers: Sequence[Array]
    ) -> tuple[list[tuple[Gradient, Gradient]], list[Gradient]]:
        """At ``known`` (numbers, layers): for each branch's input and the first outgoing pair the gradients
        of q and of delta; and for each branch's input and every outgoing pair that of delta in deltas, in
        which it is linear."""
        values = iter(self._compiled(*known, *multipliers))
        found = [dict(zip(at, islice(values, len(at)), strict=True)) for at in self._places]
        whole = list(zip(found[0 : 2 * self._whole : 2], found[1 : 2 * self._whole : 2], strict=True))
        drops = [{at: x for at, x in delta.items() if at % 2} for _, delta in whole]
        return whole, drops + found[2 * self._whole :]
