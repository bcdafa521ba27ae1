r"""One block's step as formulas: constant branch gains, or concrete activations.

With constant gains a branch whose input has second moment u puts out sigma^2 u (degree one: what
linear maps, ReLU and attention at a fixed token cosine do; exact for any branch that reads a normed
stream, where u = 1), and multiplies the gradient's second moment by omega^2. A branch with QKV norm, or
with a norm in front of its last matrix, puts out sigma^2 whatever u is, and multiplies by omega^2/u. A
scaling rule's gains on the value path multiply both; only that of the last matrix, or of the output
projection under QKV norm, where a norm takes the others away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations_with_replacement
from typing import Any

from sympy import Expr, Float, Integer, Matrix, Mul, Symbol, factor, sympify, together

from ..base import symbols
from ..base.errors import NoClosedForm
from ..gaussian.activations import ACTIVATIONS
from ..gaussian.closed_forms import ClosedForm
from ..gaussian.elementwise import one_token
from ..spec.graph import VALUE_PATH, Branch, Trace
from .adjoint import Adjoint
from .algebra import SCALAR, Moments

ONE = Integer(1)

BranchGain = Callable[[Branch, Expr], tuple[Expr, Expr]]


def scale_free(branch: Branch) -> bool:
    """Whether the branch puts out the same whatever the size of its input."""
    return branch.inner_norm or "value" in branch.normed


#: inputs of each matrix on a value path, with a hidden layer of 4d
FAN_IN = dict.fromkeys(("attn.value", "attn.output", "ffn.up"), symbols.width) | {
    "ffn.down": 4 * symbols.width
}


def rule_gain(branch: Branch) -> Expr:
    """The scaling rule's factor on the branch's second moment at fan-in initialisation; where the rule states
    a standard deviation, with a hidden layer of 4d.

    Raises:
        NoClosedForm: a gate.
    """
    if branch.gates:
        raise NoClosedForm(
            "formulas with constant gains have gates at their centres; give their logits the variance 0, or "
            "use predict(...)"
        )
    factors = []
    for name in VALUE_PATH[branch.kind][scale_free(branch) :]:
        factors.append((branch.gains.get(name, ONE) * branch.outputs.get(name, ONE)) ** 2)
        if name in branch.std:
            factors.append(FAN_IN[name] * branch.std[name] ** 2)
    return Mul(*factors)


def constant_gains(branch: Branch, u: Expr) -> tuple[Expr, Expr]:
    """Second moment of the branch and backward gain, with the constant gains of its kind."""
    if branch.elementwise:
        return elementwise_gains(branch.kind, u)
    return weighted_gains(branch, u, rule_gain(branch), symbols.GAINS[branch.kind])


def weighted_gains(branch: Branch, u: Any, scale: Any, gains: tuple[Any, Any]) -> tuple[Any, Any]:
    """Second moment and backward gain of a branch with weights, for any ``scale`` by the rule and ``gains``
    (sigma^2, omega^2), formulas or numbers."""
    sigma2, omega2 = gains
    if scale_free(branch):
        return scale * sigma2, scale * omega2 / u
    return scale * sigma2 * u, scale * omega2


def elementwise_gains(activation: str, u: Expr) -> tuple[Expr, Expr]:
    """E phi^2 and E phi'^2 of an activation in a norm's place, for an input of second moment u: formulas
    where its kernel is a closed form, functions of u by name where it is not."""
    kernel = ACTIVATIONS[activation].kernel
    if isinstance(kernel, ClosedForm):
        value, slope = kernel.moments(u)
        return value, slope
    return symbols.moments_of(activation, u)


def elementwise_numbers(activation: str, u: Any) -> tuple[Any, Any]:
    """E phi^2 and E phi'^2 of an activation in a norm's place, for numbers u."""
    kernel = ACTIVATIONS[activation].kernel
    if isinstance(kernel, ClosedForm):
        return kernel.value(u, u, u), kernel.slope(u, u, u)
    known = one_token(activation)
    return known.value(u), known.slope(u)


def numeric_moments() -> dict[str, Callable[[Any], Any]]:
    """The functions of :func:`elementwise_gains` by name, for compiled formulas; tabulated when called."""
    found: dict[str, Callable[[Any], Any]] = {}
    for name in ACTIVATIONS:
        found[f"M_{name}"] = lambda q, name=name: one_token(name).value(q)  # type: ignore[misc]
        found[f"S_{name}"] = lambda q, name=name: one_token(name).slope(q)  # type: ignore[misc]
    return found


def concrete_gains(activation: str) -> BranchGain:
    """Constant gains with those of the feed-forward branch for an activation at fan-in initialisation:
    formulas where the kernel is a closed form, numbers by quadrature (at unit input only) where it is not."""
    entry = ACTIVATIONS[activation]

    def gains(branch: Branch, u: Expr) -> tuple[Expr, Expr]:
        if branch.kind != "ffn":
            return constant_gains(branch, u)
        scale = rule_gain(branch)
        if isinstance(entry.kernel, ClosedForm):
            value, slope = entry.kernel.moments(u)
        elif u == 1:
            value, slope = (Float(float(f(1.0, 1.0, 1.0))) for f in (entry.kernel.value, entry.kernel.slope))
        else:
            raise NoClosedForm(
                f"{activation} has no closed-form kernel, and this placement feeds its feed-forward branch "
                "an unnormalised stream; use constant gains (activation=None) or predict(...)"
            )
        if entry.gated:
            up = u + sympify(entry.up_offset) ** 2
            value, slope = value * up, value + slope * up
        if branch.inner_norm:
            value, slope = ONE, slope / value
        return scale * value, scale * slope

    return gains


@dataclass(frozen=True)
class Step:
    """The formulas of one block.

    Attributes:
        trace: the block.
        gains: second moment and backward gain of a branch, from the second moment of its input.
        known: stream moments that are fixed numbers here (1 after a norm, say), by stream pair.
    """

    trace: Trace
    gains: BranchGain
    known: tuple[tuple[tuple[int, int], Expr], ...] = ()

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Stream pairs (i, j), i <= j."""
        return list(combinations_with_replacement(range(len(self.trace.streams)), 2))

    def moment(self, i: int, j: int) -> Expr:
        """The second moment of incoming streams i and j: a symbol, or its known value."""
        pair = (min(i, j), max(i, j))
        symbol = symbols.stream_moment(symbols.variance, *pair, len(self.trace.streams))
        return dict(self.known).get(pair, symbol)

    def gradient(self, i: int, j: int) -> Symbol:
        """The symbol of the gradient's second moment at outgoing streams i and j."""
        return symbols.stream_moment(symbols.grad_variance, i, j, len(self.trace.outputs))

    @cached_property
    def _moments(self) -> Moments:
        return Moments(self.trace, SCALAR, self.moment, lambda b, u: self.gains(b, tidy(u))[0])

    @cached_property
    def forward(self) -> dict[tuple[int, int], Expr]:
        """Second moments of the outgoing streams."""
        outputs = self._moments.outputs()
        pairs = combinations_with_replacement(range(len(self.trace.outputs)), 2)
        return {(i, j): tidy(outputs[i][j]) for i, j in pairs}

    @property
    def branch_sizes(self) -> list[Expr]:
        """Second moment at each branch's input, with the gains of those before it."""
        return [tidy(self._moments.cov(b.source, b.source)) for b in self.trace.branches]

    @cached_property
    def _adjoint(self) -> tuple[Adjoint, Moments]:
        adjoint = Adjoint(self._moments)

        def transfer(branch: Branch, g: Expr) -> Expr:
            origin = adjoint.origin[branch.index]
            u = tidy(self._moments.cov(origin.source, origin.source))
            return self.gains(origin, u)[1] * g

        return adjoint, Moments(adjoint.trace, SCALAR, self.gradient, transfer)

    @cached_property
    def branch_products(self) -> list[Expr]:
        """Second moment of each branch's output times that of the gradient there, for a gradient of 1 behind
        the block; of one stream."""
        adjoint, moments = self._adjoint
        unit = {self.gradient(0, 0): ONE}
        found = []
        for branch in self.trace.branches:
            at = adjoint.at[branch.index]
            found.append(tidy(self._moments.cov(branch, branch) * moments.cov(at, at).subs(unit)))
        return found

    @cached_property
    def backward(self) -> dict[tuple[int, int], Expr]:
        """Second moments of the gradient at the incoming streams, linear in those at the outgoing."""
        return {pair: tidy(moment) for pair, moment in self._backward.items()}

    @cached_property
    def _backward(self) -> dict[tuple[int, int], Expr]:
        _, moments = self._adjoint
        outputs = moments.outputs()
        return {(i, j): outputs[i][j] for i, j in self.pairs}

    @cached_property
    def backward_matrix(self) -> Matrix:
        """The matrix of :attr:`backward`, rows and columns in the order of the stream pairs."""
        return self.backward_terms.applyfunc(tidy)

    @cached_property
    def backward_terms(self) -> Matrix:
        """The backward matrix as the block's rules write it: sums and products of non-negative terms."""
        count = range(len(self.trace.outputs))
        unknowns = [self.gradient(i, j) for i, j in combinations_with_replacement(count, 2)]
        rows = [sympify(moment) for moment in self._backward.values()]
        return Matrix([[row.diff(unknown) for unknown in unknowns] for row in rows])

    @cached_property
    def identity(self) -> list[Expr]:
        """Amplitude gain of each stream's skip path through the block."""
        return [
            tidy(self._moments.path(out, stream))
            for out, stream in zip(self.trace.outputs, self.trace.streams, strict=False)
        ]


def tidy(expression: Any) -> Expr:
    """A rational expression in factored form; one with roots is only put over one denominator."""
    return _tidy(Integer(0) + expression)


@lru_cache(maxsize=1 << 14)  # streams and wirings that are alike ask for the same expressions
def _tidy(expression: Expr) -> Expr:
    if expression.is_rational_function(*expression.free_symbols):
        return factor(expression)
    return together(expression)
