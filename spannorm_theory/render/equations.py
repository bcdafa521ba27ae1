"""The equations of one block in reading order: one for each moment, or staged with intermediate moments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations_with_replacement

from sympy import Eq, Expr, collect, count_ops, expand, factor, sympify

from ..base import symbols
from ..derivation.recurrence import Recurrence
from ..moments.adjoint import Adjoint
from ..moments.algebra import SCALAR, Moments
from ..moments.one_token import Step
from ..spec.graph import Branch, Norm, Value


def _branch_names(step: Step) -> dict[int, str]:
    """a, f (or a1, a2, ... where a block has several branches of a kind) by branch index."""
    kinds = [b.kind[0] for b in step.trace.branches]
    names: dict[int, str] = {}
    for position, branch in enumerate(step.trace.branches):
        letter = kinds[position]
        count = kinds[: position + 1].count(letter)
        names[branch.index] = letter if kinds.count(letter) == 1 else f"{letter}{count}"
    return names


class _Named(Moments):
    """Moments that give a name to the second moment entering each norm."""

    def __init__(
        self, step: Step, record: Callable[[str, Expr], Expr], transfer: Callable[..., Expr]
    ) -> None:
        super().__init__(step.trace, SCALAR, step.moment, transfer)
        self._entering = {n.source.index for n in step.trace.nodes if isinstance(n, Norm)}
        self._record = record

    def _compute(self, v: Value, w: Value) -> Expr:
        value = super()._compute(v, w)
        return self._record("n", value) if v is w and v.index in self._entering else value


def staged(step: Step) -> tuple[list[Eq], list[Eq]]:
    """Forward and backward equations of a block with intermediate moments named.

    n: second moment entering a norm; u: at a branch's input; b: of its output; G: of the gradient at its
    output; T: of the gradient that it returns. Short where one expression for the block would not be.
    """
    names = _branch_names(step)
    forward_equations: list[Eq] = []
    backward_equations: list[Eq] = []
    inputs: dict[int, Expr] = {}

    def record(name: str, value: Expr) -> Expr:
        value = _terms(value)
        if value.is_number or value.is_Symbol:
            return value
        if name == "n":
            name = f"n_{sum(e.lhs.name.startswith('n_') for e in forward_equations) + 1}"
        forward_equations.append(Eq(symbols.positive(name), value, evaluate=False))
        return symbols.positive(name)

    def forward_transfer(branch: Branch, u: Expr) -> Expr:
        inputs[branch.index] = shown = record(f"u_{names[branch.index]}", u)
        b = symbols.positive(f"b_{names[branch.index]}")
        forward_equations.append(Eq(b, step.gains(branch, shown)[0], evaluate=False))
        return b

    forward = _Named(step, record, forward_transfer)
    for branch in step.trace.branches:
        forward.cov(branch, branch)
    for i, j in step.pairs:
        after = _terms(forward.cov(step.trace.outputs[i], step.trace.outputs[j]))
        forward_equations.append(Eq(symbols.after(_moment(step, i, j)), after, evaluate=False))

    adjoint = Adjoint(forward)

    def backward_transfer(branch: Branch, g: Expr) -> Expr:
        origin = adjoint.origin[branch.index]
        big_g, t = (symbols.positive(f"{stem}_{names[origin.index]}") for stem in "GT")
        backward_equations.append(Eq(big_g, _terms(g), evaluate=False))
        backward_equations.append(Eq(t, step.gains(origin, inputs[origin.index])[1] * big_g, evaluate=False))
        return t

    outgoing = combinations_with_replacement(range(len(step.trace.outputs)), 2)
    gradients = {p: symbols.after(step.gradient(*p)) for p in outgoing}
    moments = Moments(adjoint.trace, SCALAR, lambda i, j: gradients[min(i, j), max(i, j)], backward_transfer)
    for node in adjoint.trace.branches:
        moments.cov(node, node)
    for i, j in step.pairs:
        before = _terms(moments.cov(adjoint.trace.outputs[i], adjoint.trace.outputs[j]))
        symbol = symbols.stream_moment(symbols.grad_variance, i, j, len(step.trace.streams))
        backward_equations.append(Eq(symbol, before, evaluate=False))
    return forward_equations, backward_equations


def _terms(value: Expr | int) -> Expr:
    """A sum with one factored term for each moment, rather than one fraction; of a stream that nothing reads
    a plain zero comes in."""
    value = sympify(value)
    moments = [s for s in value.free_symbols if s.name[0] in "qbTG" or s.name.startswith("gamma")]
    return collect(expand(value), sorted(moments, key=str), _shorter)


def _shorter(coefficient: Expr) -> Expr:
    return min((factor(coefficient), expand(coefficient)), key=count_ops)


def _moment(step: Step, i: int, j: int) -> Expr:
    return symbols.stream_moment(symbols.variance, i, j, len(step.trace.streams))


def of_step(step: Step) -> tuple[list[Eq], list[Eq]]:
    """Forward and backward equations of a block as they are shown: staged for several streams."""
    if len(step.trace.streams) > 1:
        return staged(step)
    q, gamma = symbols.variance, symbols.grad_variance
    forward = Eq(symbols.after(q), step.forward[0, 0], evaluate=False)
    before = step.backward[0, 0].subs(gamma, symbols.after(gamma))
    return [forward], [Eq(gamma, before, evaluate=False)]


def equations(recurrence: Recurrence) -> tuple[list[Eq], list[Eq]]:
    """Forward and backward equations of a block in the middle of the stack, as they are shown."""
    return of_step(recurrence.block)


@dataclass(frozen=True)
class Stage:
    """Blocks that are wired alike.

    Attributes:
        blocks: which, in words.
        forward, backward: their equations.
    """

    blocks: str
    forward: list[Eq]
    backward: list[Eq]


def stages(recurrence: Recurrence) -> list[Stage]:
    """Every kind of block of a stack, in the order in which a signal meets them."""
    found: list[tuple[str, Step]] = []
    turns = recurrence.turns if len(recurrence.turns) > 1 else (recurrence.block,)
    if recurrence.before is not None:
        found.append((f"the first {recurrence.start} blocks", recurrence.before.block))
        found.append(("the blocks behind them", recurrence.block))
    elif len(turns) > 1:
        count = len(turns)
        found += [(f"blocks {turn}, {turn + count}, ...", step) for turn, step in enumerate(turns)]
    elif str(recurrence.first.trace) != str(recurrence.block.trace):
        found += [("first block", recurrence.first), ("every other block", recurrence.block)]
    else:
        found.append(("one block", recurrence.block))
    return [Stage(blocks, *of_step(step)) for blocks, step in found]


def readout(recurrence: Recurrence) -> list[Eq]:
    """Gradients behind the last block, for one of second moment 1 at the model's output."""
    step = recurrence.readout
    count, gamma = len(step.trace.streams), symbols.grad_variance
    return [
        Eq(symbols.stream_moment(gamma, *pair, count), after.subs(step.gradient(0, 0), 1), evaluate=False)
        for pair, after in step.backward.items()
    ]
