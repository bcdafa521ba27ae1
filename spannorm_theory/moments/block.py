"""A block's forward pass as one compiled function, for the loop over layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sympy import Expr, Symbol, cse, numbered_symbols, sympify
from sympy.printing.pycode import PythonCodePrinter

#: closed forms take the product of two second moments to the power 3/2, which must be in float64's range
LARGEST_VARIANCE = 1e100

#: from the numbers in front of a block, what its branches do, its multipliers and each branch's gains, to the
#: numbers behind it and all that it had: what came in, what its branches put out, and what crosses it
BlockPass = Callable[..., tuple[Sequence[float], Sequence[float]]]


class OutOfRange(ArithmeticError):
    """A second moment that a block reads is beyond ``LARGEST_VARIANCE``, or no number."""


class Printer(PythonCodePrinter):
    """Roots as powers, which floats and arrays both take."""

    def _print_Pow(self, expr: Expr, rational: bool = True) -> str:
        return str(super()._print_Pow(expr, rational=True))


def compile_pass(
    state: Sequence[Symbol],
    multipliers: Sequence[Symbol],
    branches: Sequence[tuple[tuple[Expr, Expr], tuple[Symbol, Symbol]]],
    behind: Sequence[Expr],
    across: Sequence[Expr],
) -> BlockPass:
    """Compile a block.

    Args:
        state: (q, delta) of each stream pair.
        branches: for each, the expressions of its input (q, delta) and the symbols of its output.
        behind: the outgoing state.
        across: what the block is to record besides.
    """
    outs = [x for _, out in branches for x in out]
    pending, found = cse([*(x for q, _ in branches for x in q), *behind, *across], numbered_symbols("shared"))
    names: dict[Expr, Symbol] = {}
    for stem, symbols in (("state", state), ("multiplier", multipliers), ("out", outs)):
        names |= {symbol: Symbol(f"{stem}{i}") for i, symbol in enumerate(symbols)}
    known = {*state, *multipliers}
    lines: list[str] = []

    def written(expression: Expr) -> str:
        return str(Printer().doprint(sympify(expression).xreplace(names)))

    def row(values: Iterable[Expr]) -> str:
        return "(" + "".join(f"{written(value)}, " for value in values) + ")"

    def define() -> None:
        """What expressions share, as far as it is known by now."""
        nonlocal pending
        later = []
        for symbol, expression in pending:
            if expression.free_symbols <= known:
                lines.append(f"{symbol} = {written(expression)}")
                known.add(symbol)
            else:
                later.append((symbol, expression))
        pending = later

    given = {
        "state": state,
        "multipliers": multipliers,
        "branches": [Symbol(f"branch{i}") for i in range(len(branches))],
    }
    lines += [f"{row(symbols)} = {name}" for name, symbols in given.items() if symbols]
    lines += [f"if not {written(q)} <= largest: raise OutOfRange" for q in state[::2]]
    for i, (_, out) in enumerate(branches):
        define()
        q, delta = map(written, found[2 * i : 2 * i + 2])
        lines += [
            f"q = {q}",
            "if not q <= largest: raise OutOfRange",
            f"{row(out)} = branch{i}(q, {delta}, *gains{i})",
        ]
        known.update(out)
    define()
    ends = found[2 * len(branches) :]
    lines.append(f"return {row(ends[: len(behind)])}, {row([*state, *outs, *ends[len(behind) :]])}")
    arguments = ["state", "branches", "multipliers", *(f"gains{i}" for i in range(len(branches)))]
    source = f"def block({', '.join(arguments)}):\n" + "".join(f"    {line}\n" for line in lines)
    scope: dict[str, Any] = {"largest": LARGEST_VARIANCE, "OutOfRange": OutOfRange}
    exec(source, scope)  # what sympy.lambdify does; branches between expressions are beyond it
    compiled: BlockPass = scope["block"]
    return compiled
