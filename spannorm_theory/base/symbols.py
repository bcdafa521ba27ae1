"""Every symbol of the theory with its assumptions; :mod:`.letters` has meanings and normalisations.

No other module creates a sympy symbol: two symbols with one name but different assumptions
are different to sympy, and a formula that mixes them does not simplify.
"""

from __future__ import annotations

from typing import Any

from sympy import Expr, Function, Symbol
from sympy import latex as sympy_latex

layer = Symbol("l", integer=True, nonnegative=True)
depth = Symbol("L", integer=True, positive=True)
width = Symbol("d", integer=True, positive=True)

sigma_a2 = Symbol("sigma_a^2", positive=True)
sigma_f2 = Symbol("sigma_f^2", positive=True)
omega_a2 = Symbol("omega_a^2", positive=True)
omega_f2 = Symbol("omega_f^2", positive=True)

variance = Symbol("q", positive=True)
drop = Symbol("delta", nonnegative=True)
initial_variance = Symbol("q_0", positive=True)
grad_variance = Symbol("gamma", positive=True)
grad_covariance = Symbol("c", real=True)

#: second moments of two pre-activations, their covariance c, and q_1 q_2 - c^2
kernel_arguments = (
    Symbol("q_1", positive=True),
    Symbol("q_2", positive=True),
    Symbol("c", real=True),
    Symbol("D", nonnegative=True),
)

#: a constant of a law that the first blocks decide
constant = Symbol("C", positive=True)

running = Symbol("k", integer=True, nonnegative=True)

#: constant branch gains: the forward and backward second moment of each kind of branch
GAINS: dict[str, tuple[Symbol, Symbol]] = {
    "attention": (sigma_a2, omega_a2),
    "ffn": (sigma_f2, omega_f2),
}


def stream_moment(base: Symbol, i: int, j: int, streams: int) -> Symbol:
    """Cross moment of streams ``i`` and ``j``: ``q`` alone for one stream, ``q_01`` for two."""
    if streams == 1:
        return base
    i, j = min(i, j), max(i, j)
    return Symbol(f"{base.name}_{i}{j}", **base.assumptions0)


def transfer(name: str) -> Symbol:
    """A numeric coefficient of one branch (its input moment, its backward gain) inside a step."""
    return Symbol(name, real=True)


def after(symbol: Symbol) -> Symbol:
    """The moment after the block: q' of q."""
    base, underscore, index = symbol.name.partition("_")
    return Symbol(f"{base}'{underscore}{index}", **symbol.assumptions0)


def moments_of(activation: str, variance: Expr) -> tuple[Expr, Expr]:
    """E phi(u)^2 and E phi'(u)^2 for u ~ N(0, variance), of an activation without a closed form."""
    value, slope = Function(f"M_{activation}", positive=True), Function(f"S_{activation}", positive=True)
    return value(variance), slope(variance)


def positive(name: str) -> Symbol:
    """A named positive intermediate of a derivation, such as the second moment u_a of a branch input."""
    return Symbol(name, positive=True)


_GREEK = ("sigma", "omega", "gamma", "delta", "lambda", "kappa", "epsilon", "rho")


def latex_name(symbol: Symbol) -> str:
    r"""A symbol's name in LaTeX: ``sigma_a^2`` as ``\sigma_a^2``, ``q'_01`` as ``q'_{01}``."""
    base, _, rest = str(symbol.name).partition("_")
    index, _, power = rest.partition("^")
    stem = base.removesuffix("'")
    name = ("\\" + stem if stem in _GREEK else stem) + ("'" if base.endswith("'") else "")
    return name + (f"_{{{index}}}" if index else "") + (f"^{{{power}}}" if power else "")


def latex(expression: Any) -> str:
    """LaTeX of an expression with this module's names; powers of a squared symbol get brackets."""
    names = {s: latex_name(s) for s in expression.free_symbols}
    return str(sympy_latex(expression, symbol_names=names, fold_short_frac=False))
