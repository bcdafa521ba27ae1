"""The forward pass of the pair theory: one block's step, repeated (T8.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..base.errors import AssumptionError
from ..gaussian.closed_forms import Array
from ..layers.dropout import dropped
from ..layers.experts import MixtureOfExperts
from ..moments.algebra import norm_of_zero
from ..moments.two_tokens import LARGEST_VARIANCE
from ..softmax.top_k_table import LARGEST_PAIR_VARIANCE
from .blocks import BlockMoments, WiredBlocks
from .stack import Stack


class State(NamedTuple):
    """Second moments of two tokens between blocks, per coordinate.

    Attributes:
        q: second moment of each pair of stream classes.
        delta: q minus the covariance between two tokens, of each pair.
    """

    q: Sequence[float]
    delta: Sequence[float]


@dataclass(frozen=True)
class StackMoments:
    """Second moments of two tokens at every layer of a stack.

    Attributes:
        stack: its blocks.
        wirings: the moments in the blocks of each wiring.
        q, delta: the states in front of each block and behind the last, (depth + 1, pairs).
        across: q_{l,l+1}, second moment of each stream class across a block, (depth, classes).
    """

    stack: Stack
    wirings: list[BlockMoments]
    q: Array
    delta: Array
    across: Array

    @property
    def last(self) -> State:
        """The state behind the last block."""
        return State(self.q[-1].tolist(), self.delta[-1].tolist())

    def layer_cosine(self, place: int) -> Array:
        """Cosine of a token in front of and behind each block, of the stream class ``place``, (depth,)."""
        q = self.q[:, self.stack.step.own[place]]
        with np.errstate(divide="ignore", invalid="ignore"):  # a stream that is zero has no cosine
            return np.asarray(self.across[:, place] / np.sqrt(q[:-1] * q[1:]))


def forward(stack: Stack, state: State, pair_variance: Sequence[Array] | None = None) -> StackMoments:
    """Pass a state through a stack, block by block.

    Args:
        state: moments in front of the first block.
        pair_variance: V at the branches' inputs, which experts read, one array (layers, branches) for each
            wiring; None stands for zero.

    Raises:
        AssumptionError: a second moment left float64's range, or a norm reads zeros.
    """
    given = pair_variance or [np.zeros((len(w.layers), len(w.components))) for w in stack.wirings]
    steps = [_Steps(wiring, v) for wiring, v in zip(stack.wirings, given, strict=True)]
    states, sources, across = [state], [list[State]() for _ in steps], []
    for layer, wiring in enumerate(stack.order):
        try:
            state, block, crossing = steps[wiring](state)
        except ZeroDivisionError:
            raise norm_of_zero(layer) from None
        except OverflowError:
            raise AssumptionError(
                f"the forward variance leaves float64's range at layer {layer}: this placement grows "
                "exponentially with depth under this scaling; predict a shallower stack, or use "
                "derive(...).iterate for constant branch gains"
            ) from None
        states.append(state)
        sources[wiring].append(block)
        across.append(crossing)
    wirings = [
        BlockMoments(blocks, *np.array(found).transpose(1, 2, 0))
        for blocks, found in zip(stack.wirings, sources, strict=True)
    ]
    q, delta = np.array(states).transpose(1, 0, 2)
    return StackMoments(stack, wirings, q, delta, np.array(across))


class _Steps:
    """The blocks of one wiring, each call being the next of them."""

    def __init__(self, wiring: WiredBlocks, pair_variance: Array) -> None:
        self._step = wiring.step
        self._transfers = [
            dropped(component.transfer, rate) if rate else component.transfer
            for component, rate in zip(wiring.components, wiring.dropout, strict=True)
        ]
        columns = [wiring.multipliers]
        for component, gains, v in zip(wiring.components, wiring.gains, pair_variance.T, strict=True):
            read_v = [np.minimum(v, LARGEST_PAIR_VARIANCE)] if isinstance(component, MixtureOfExperts) else []
            columns.append([*(gains[name] for name in component.takes), *read_v])
        #: a layer's multipliers, then what each transfer takes beside (q, delta)
        self._numbers = zip(*(_rows(group, len(wiring.layers)) for group in columns), strict=True)

    def __call__(self, state: State) -> tuple[State, State, list[float]]:
        """The state behind a block, the moments of its sources, and the second moment of each stream class
        across it.

        Raises:
            OverflowError: a second moment is larger than ``LARGEST_VARIANCE``, or no number.
        """
        multipliers, *gains = next(self._numbers)
        pairs, q, delta = len(state.q), [*state.q], [*state.delta]
        _require_range(q)
        for entering, transfer, own in zip(self._step.branch_inputs, self._transfers, gains, strict=True):
            size, drop = entering(q, delta, multipliers)
            _require_range([size])
            out, out_drop = transfer(size, drop, *own)
            q.append(out)
            delta.append(out_drop)
        found = self._step.outputs(q, delta, multipliers)
        return State(found[:pairs], found[pairs : 2 * pairs]), State(q, delta), found[2 * pairs :]


def _rows(columns: Sequence[Array], layers: int) -> list[tuple[float, ...]]:
    """A tuple for each layer."""
    return list(zip(*(x.tolist() for x in columns), strict=True)) if columns else [()] * layers


def _require_range(sizes: Sequence[float]) -> None:
    for q in sizes:
        if not q <= LARGEST_VARIANCE:
            raise OverflowError
