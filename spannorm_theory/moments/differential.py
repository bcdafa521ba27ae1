"""Derivatives of a block's moments in those of its sources, compiled from the same expressions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from sympy import Expr, Symbol, lambdify

from ..gaussian.closed_forms import Array

#: derivatives of one moment in those of sources that are not zero, by ("q" or "delta", number of the source)
Gradient = dict[tuple[str, int], Any]


class Differential:
    """Derivatives of (q, delta) at the input of each branch and of the outgoing stream pairs."""

    def __init__(
        self,
        inputs: Sequence[tuple[Expr, Expr]],
        outputs: Sequence[tuple[Expr, Expr]],
        q: Sequence[Symbol],
        delta: Sequence[Symbol],
        multipliers: Sequence[Symbol],
    ) -> None:
        """``q`` and ``delta`` are the moments of the block's sources."""
        drops = {("delta", i): x for i, x in enumerate(delta)}
        sources = {("q", i): x for i, x in enumerate(q)} | drops
        self._keys: list[list[tuple[str, int]]] = []
        entries: list[Expr] = []

        def add(moment: Expr, variables: dict[tuple[str, int], Symbol]) -> None:
            found = {key: moment.diff(variable) for key, variable in variables.items()}
            self._keys.append([key for key, entry in found.items() if entry != 0])
            entries.extend(entry for entry in found.values() if entry != 0)

        self._whole = len(inputs) + 1
        for moments in [*inputs, outputs[0]]:
            for moment in moments:
                add(moment, sources)
        for _, drop in outputs[1:]:
            add(drop, drops)
        self._compiled: Callable[..., list[Any]] = lambdify(
            [[*q], [*delta], [*multipliers]], entries, "numpy", cse=True
        )

    def __call__(
        self, q: Array, delta: Array, multipliers: Sequence[Array]
    ) -> tuple[list[tuple[Gradient, Gradient]], list[Gradient]]:
        """Derivatives at ``q`` and ``delta`` of the sources, (sources, layers).

        Returns:
            the gradients of q and of delta, for each branch's input and for the first outgoing pair; and the
            gradient of delta in deltas, in which it is linear, for each branch's input and for every outgoing
            pair.
        """
        values = iter(self._compiled(q, delta, multipliers))
        found = [dict(zip(keys, islice(values, len(keys)), strict=True)) for keys in self._keys]
        whole = list(zip(found[0 : 2 * self._whole : 2], found[1 : 2 * self._whole : 2], strict=True))
        drops = [{key: x for key, x in drop.items() if key[0] == "delta"} for _, drop in whole]
        return whole, drops + found[2 * self._whole :]
