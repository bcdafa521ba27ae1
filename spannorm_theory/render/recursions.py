"""How a recursion is shown: equations in reading order, as text, LaTeX and MathML."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

from sympy import Eq, Expr, collect, count_ops, expand, factor

from ..asymptotics.growth import Growth
from ..asymptotics.laws import BALANCED, COLLAPSE, EMBEDDING
from ..base import symbols
from ..base.symbols import latex
from ..gaussian.activations import ACTIVATIONS
from ..moments.adjoint import Adjoint
from ..moments.algebra import SCALAR, Moments
from ..moments.one_token import Step
from ..spec.graph import Branch, Norm, Value

if TYPE_CHECKING:
    from ..derivation.recursion import Recursion


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


def _terms(value: Expr) -> Expr:
    """A sum with one factored term for each moment, rather than one fraction."""
    moments = [s for s in value.free_symbols if s.name[0] in "qbTG" or s.name.startswith("gamma")]
    return collect(expand(value), sorted(moments, key=str), _shorter)


def _shorter(coefficient: Expr) -> Expr:
    return min((factor(coefficient), expand(coefficient)), key=count_ops)


def _moment(step: Step, i: int, j: int) -> Expr:
    return symbols.stream_moment(symbols.variance, i, j, len(step.trace.streams))


def equations(recursion: Recursion) -> tuple[list[Eq], list[Eq]]:
    """Forward and backward equations as they are shown: staged for several streams."""
    if len(recursion.block.trace.streams) > 1:
        return staged(recursion.block)
    return recursion.forward, recursion.backward


def as_text(recursion: Recursion) -> str:
    """Definition, recursion, closed forms, laws and identity gain as plain text."""
    forward, backward = equations(recursion)
    closed = recursion.closed_form()
    lines = [f"{recursion.placement}, scaling {recursion.scaling}", f"block: {recursion.block.trace}"]
    if str(recursion.first.trace) != str(recursion.block.trace):
        lines.append(f"first block: {recursion.first.trace}")
    lines.append(f"readout: {recursion.readout.trace}")
    if recursion.activation is not None:
        method = ACTIVATIONS[recursion.activation].kernel.method
        lines.append(f"feed-forward gains of {recursion.activation} at fan-in initialisation, by {method}")
    lines += ["", "forward, one block (a prime marks the moment after it):"]
    lines += [f"  {e.lhs} = {e.rhs}" for e in forward]
    lines += ["", "backward, one block:"]
    lines += [f"  {e.lhs} = {e.rhs}" for e in backward]
    since = f" (from layer {closed.start} on)" if closed.start else ""
    lines += ["", f"closed forms{since}:"]
    lines += [f"  {name} = {value}" for name, value in closed.found.items()]
    lines += [f"  {name}: none; {reason}" for name, reason in closed.missing.items()]
    lines += ["", "large depth:"]
    lines += [f"  {name}: {law}" for name, law in recursion.asymptotics().items()]
    bounds = recursion.bounds()
    if bounds:
        lines += ["", "bounds, for attention gains anywhere in [0, sigma_a^2] and [0, omega_a^2]:"]
        lines += [
            f"  {name} = {low}, always" if low == high else f"  {low} <= {name} <= {high}"
            for name, (low, high) in bounds.items()
        ]
    lines += ["", "The identity gain is that of the skip path alone, not a prediction of the gradient."]
    return "\n".join(lines)


def as_latex(recursion: Recursion) -> str:
    """The recursion, closed forms and laws as LaTeX ``align*`` environments."""
    forward, backward = equations(recursion)
    closed = recursion.closed_form()
    parts = [f"% {recursion.placement}, scaling {recursion.scaling}"]
    parts.append(_align([(latex(e.lhs), latex(e.rhs)) for e in (*forward, *backward)]))
    if closed.found:
        parts.append(_align([(_quantity(name), latex(value)) for name, value in closed.found.items()]))
    laws = [
        (_quantity(name), law.latex())
        for name, law in recursion.asymptotics().items()
        if isinstance(law, Growth)
    ]
    if laws:
        parts.append(_align(laws, relation=r"\sim"))
    return "\n".join(parts)


def _align(rows: list[tuple[str, str]], relation: str = "=") -> str:
    body = " \\\\\n".join(f"  {left} &{relation} {right}" for left, right in rows)
    return "\\begin{align*}\n" + body + "\n\\end{align*}"


def _quantity(name: str) -> str:
    """A closed form's name in LaTeX: symbols as maths, words as text."""
    if name.startswith(COLLAPSE):
        stream = name.removeprefix(COLLAPSE).strip()
        return r"(1 - \rho_L)/(1 - \rho_0)" + (rf"\text{{ of stream {stream}}}" if stream else "")
    if name == EMBEDDING:
        return rf"\text{{{EMBEDDING}}}"
    if name == BALANCED:
        return r"\gamma_0 \text{ at } \omega = \sigma"
    if name == "gamma_0/gamma_L":
        return r"\gamma_0/\gamma_L"
    if name.startswith("identity gain"):
        stream = name.removeprefix("identity gain").strip()
        return r"\text{identity gain}" + (f"_{{{stream}}}" if stream else "")
    head, _, at = name.partition(" at l=")
    base, _, index = head.partition("_")
    return rf"{base}_{{{index + ',' if index else ''}{at or 'l'}}}"
