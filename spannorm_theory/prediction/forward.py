"""The forward pass of the pair theory: one block's step, repeated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..base.errors import AssumptionError
from ..gaussian.closed_forms import Array
from ..layers.dropout import dropped
from ..layers.experts import MixtureOfExperts
from ..moments.algebra import norm_of_zero
from ..moments.two_tokens import LARGEST_VARIANCE
from ..softmax.top_k_table import LARGEST_SPREAD
from .blocks import BlockMoments, WiredBlocks
from .stack import Stack

#: (q, delta) of each pair of stream classes in turn
State = Sequence[float]


@dataclass(frozen=True)
class StackMoments:
    """Second moments of two tokens at every layer of a stack.

    Attributes:
        stack: its blocks.
        wirings: the moments in the blocks of each wiring.
        last: the state behind the last block.
        across: second moment of each stream class with what it was in front of a block, (depth, classes).
    """

    stack: Stack
    wirings: list[BlockMoments]
    last: State
    across: Array

    @property
    def q(self) -> Array:
        """Second moment of each pair of stream classes at every boundary, (depth + 1, pairs)."""
        return np.vstack([self.stack.in_order([m.q for m in self.wirings]), self.last[::2]])

    @property
    def delta(self) -> Array:
        """Drop of each pair of stream classes at every boundary, (depth + 1, pairs)."""
        return np.vstack([self.stack.in_order([m.delta for m in self.wirings]), self.last[1::2]])


def forward(stack: Stack, state: State, pair_variance: Sequence[Array] | None = None) -> StackMoments:
    """Pass a state through a stack, block by block.

    Args:
        state: in front of the first block.
        pair_variance: for each wiring V at its branches' inputs, (layers, branches), which experts read; None
            stands for zero.

    Raises:
        AssumptionError: a second moment left float64's range, or a norm reads zeros.
    """
    given = pair_variance or [np.zeros((len(w.layers), len(w.components))) for w in stack.wirings]
    blocks = [_Blocks(wiring, v) for wiring, v in zip(stack.wirings, given, strict=True)]
    records: list[list[list[float]]] = [[] for _ in stack.wirings]
    for layer, wiring in enumerate(stack.order):
        try:
            state, record = blocks[wiring](state)
        except ZeroDivisionError:
            raise norm_of_zero(layer) from None
        except OverflowError:
            raise AssumptionError(
                f"the forward variance leaves float64's range at layer {layer}: this placement grows "
                "exponentially with depth under this scaling; predict a shallower stack, or use "
                "derive(...).iterate for constant branch gains"
            ) from None
        records[wiring].append(record)
    tables, classes = [np.array(rows) for rows in records], len(stack.step.firsts)
    wirings = [
        BlockMoments.of(wiring, table[:, :-classes])
        for wiring, table in zip(stack.wirings, tables, strict=True)
    ]
    return StackMoments(stack, wirings, state, stack.in_order([table[:, -classes:] for table in tables]))


class _Blocks:
    """The blocks of one wiring, each call being the next of them."""

    def __init__(self, wiring: WiredBlocks, pair_variance: Array) -> None:
        self._step, self._transfers = wiring.step, [c.transfer for c in wiring.components]
        if wiring.dropout:
            self._transfers = [dropped(transfer, wiring.dropout) for transfer in self._transfers]
        columns = [wiring.multipliers]
        for component, gains, v in zip(wiring.components, wiring.gains, pair_variance.T, strict=True):
            read_v = [np.minimum(v, LARGEST_SPREAD)] if isinstance(component, MixtureOfExperts) else []
            columns.append([*(gains[name] for name in component.takes), *read_v])
        #: a layer's multipliers, then what each transfer takes beside (q, delta)
        self._numbers = zip(*(_rows(group, len(wiring.layers)) for group in columns), strict=True)

    def __call__(self, state: State) -> tuple[State, list[float]]:
        """The state behind the block; and that in front of it with the branches' moments, then ``across``.

        Raises:
            OverflowError: a second moment is larger than ``LARGEST_VARIANCE``, or no number.
        """
        multipliers, *gains = next(self._numbers)
        known = list(state)
        _require_range(state[::2])
        for entering, transfer, own in zip(self._step.branch_inputs, self._transfers, gains, strict=True):
            q, delta = entering(*known, *multipliers)
            _require_range((q,))
            known += transfer(q, delta, *own)
        found = self._step.outputs(*known, *multipliers)
        return found[: len(state)], known + found[len(state) :]


def _rows(columns: Sequence[Array], layers: int) -> list[tuple[float, ...]]:
    """A tuple for each layer."""
    return list(zip(*(x.tolist() for x in columns), strict=True)) if columns else [()] * layers


def _require_range(sizes: Sequence[float]) -> None:
    for q in sizes:
        if not q <= LARGEST_VARIANCE:
            raise OverflowError
