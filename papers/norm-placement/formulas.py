r"""The closed forms that the write-up states: each written as it reads best, and proved equal to what the
library derives from the placement's definition. A formula that differs stops the build."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sympy import Add, Expr, Integer, Mul, Pow, exp, latex, simplify, sqrt

import spannorm_theory as st
from spannorm_theory.base import symbols
from spannorm_theory.derivation.rank_collapse import collapse_factor

SA, SF, WA, WF = symbols.sigma_a2, symbols.sigma_f2, symbols.omega_a2, symbols.omega_f2
Q, Q0, L, LAYER = symbols.variance, symbols.initial_variance, symbols.depth, symbols.layer

SCALED = "depth-scaled-init"


@dataclass(frozen=True)
class Formula:
    """One displayed formula.

    Attributes:
        macro: the LaTeX command that holds it.
        label: the theorem that states it.
        shown: the expression in the order in which it is printed.
        derived: the same from the library.
    """

    macro: str
    label: str
    shown: Expr
    derived: Callable[[], Any]

    def latex(self) -> str:
        """LaTeX, with terms and factors in the written order."""
        names = {s: symbols.latex_name(s) for s in self.shown.free_symbols}
        return str(latex(self.shown, symbol_names=names, order="none", fold_short_frac=self.shown.has(exp)))

    def check(self) -> None:
        """Raise ValueError unless both expressions are one."""
        gap = simplify(self.shown.doit() - self.derived())
        if gap != 0:
            raise ValueError(f"{self.macro} ({self.label}) is not what the library derives; difference {gap}")


def plus(*terms: Any) -> Expr:
    """A sum in the written order."""
    return Add(*map(Integer(0).__radd__, terms), evaluate=False)


def times(*factors: Any) -> Expr:
    """A product in the written order."""
    return Mul(*factors, evaluate=False)


def over(top: Any, bottom: Any) -> Expr:
    """A fraction that is not cancelled."""
    below = Pow(bottom, -1, evaluate=False)
    return below if top == 1 else Mul(top, below, evaluate=False)


def _step(placement: str) -> Callable[[], Any]:
    return lambda: st.derive(placement).ratio


def _identity(placement: str) -> Callable[[], Any]:
    return lambda: st.derive(placement).step.identity[0] ** 2


def _collapse(placement: str) -> Callable[[], Any]:
    return lambda: collapse_factor(st.derive(placement).step)


def _limit(placement: str, quantity: str) -> Callable[[], Any]:
    def constant() -> Any:
        law: Any = st.derive(placement, SCALED).asymptotics()[quantity]
        if law.shape != 1:
            raise ValueError(f"{quantity} of {placement} has no finite limit: {law}")
        return law.prefactor

    return constant


def _power(placement: str, quantity: str) -> Callable[[], Any]:
    def power() -> Any:
        law: Any = st.derive(placement).asymptotics()[quantity]
        return law.power

    return power


def _bound(placement: str, which: int) -> Callable[[], Any]:
    """One block's factor in the library's bounds on a gradient ratio: what one more block does."""

    def factor() -> Any:
        whole = st.derive(placement).bounds()["gradient_ratio"][which]
        return simplify(whole.subs(L, 3) / whole.subs(L, 2))

    return factor


ONE = Integer(1)
BOTH = times(plus(ONE, SA), plus(ONE, SF))
RATIO, COLLAPSE, GAIN = "gradient_ratio", "collapse", "identity_gain"

FORMULAS = (
    Formula("PostRatio", "thm:forms", over(times(plus(ONE, WA), plus(ONE, WF)), BOTH), _step("post-norm")),
    Formula(
        "SpanRatio", "thm:forms", over(plus(ONE, SA, times(WF, plus(ONE, WA))), BOTH), _step("span-norm")
    ),
    Formula(
        "HybridRatio",
        "thm:forms",
        over(
            times(plus(ONE, WF), plus(ONE, SF, WA)),
            times(plus(ONE, SF), plus(ONE, SF, SA)),
        ),
        _step("hybrid-norm"),
    ),
    Formula(
        "PreStep",
        "thm:pre",
        times(plus(ONE, over(WA, Q)), plus(ONE, over(WF, plus(Q, SA)))),
        lambda: st.derive("pre-norm").block.backward_matrix[0, 0],
    ),
    Formula(
        "PreVariance",
        "thm:pre",
        plus(Q0, times(LAYER, plus(SA, SF))),
        lambda: st.derive("pre-norm").closed_form()["q"],
    ),
    Formula("PrePower", "thm:pre", over(plus(WA, WF), plus(SA, SF)), _power("pre-norm", RATIO)),
    Formula(
        "PreCollapse",
        "thm:pre",
        plus(over(WF, plus(SA, SF)), Integer(-1)),
        _power("pre-norm", COLLAPSE),
    ),
    Formula("PostIdentity", "thm:forms", over(ONE, BOTH), _identity("post-norm")),
    Formula("SpanIdentity", "thm:forms", over(ONE, plus(ONE, SF)), _identity("span-norm")),
    Formula("HybridIdentity", "thm:forms", over(ONE, plus(ONE, SA, SF)), _identity("hybrid-norm")),
    Formula("PostCollapse", "thm:collapse", over(plus(ONE, WF), BOTH), _collapse("post-norm")),
    Formula("SpanCollapse", "thm:collapse", over(plus(ONE, SA, WF), BOTH), _collapse("span-norm")),
    Formula(
        "HybridCollapse", "thm:collapse", over(plus(ONE, WF), plus(ONE, SA, SF)), _collapse("hybrid-norm")
    ),
    Formula("SpanLower", "thm:bounds", over(plus(ONE, SA, WF), BOTH), _bound("span-norm", 0)),
    Formula(
        "SpanUpper",
        "thm:bounds",
        over(plus(ONE, times(WF, plus(ONE, WA))), plus(ONE, SF)),
        _bound("span-norm", 1),
    ),
    Formula("PostLower", "thm:bounds", over(plus(ONE, WF), BOTH), _bound("post-norm", 0)),
    Formula(
        "PostUpper",
        "thm:bounds",
        over(times(plus(ONE, WA), plus(ONE, WF)), plus(ONE, SF)),
        _bound("post-norm", 1),
    ),
    Formula(
        "CollapseGap",
        "cor:collapse",
        over(SA, BOTH),
        lambda: _collapse("span-norm")() - _collapse("post-norm")(),
    ),
    Formula("SpanGain", "thm:limits", over(exp(-SF / 2), sqrt(Q0)), _limit("span-norm", GAIN)),
    Formula(
        "PostGain", "thm:limits", over(exp(over(plus(-SA, -SF), 2)), sqrt(Q0)), _limit("post-norm", GAIN)
    ),
    Formula("SpanLimit", "thm:limits", over(exp(plus(WF, -SF)), Q0), _limit("span-norm", RATIO)),
    Formula("PostLimit", "thm:limits", over(exp(plus(WA, WF, -SA, -SF)), Q0), _limit("post-norm", RATIO)),
)


def macros() -> str:
    """The checked formulas as LaTeX commands."""
    lines = []
    for formula in FORMULAS:
        formula.check()
        lines.append(rf"\newcommand{{\{formula.macro}}}{{{formula.latex()}}}")
    return "\n".join(lines) + "\n"
