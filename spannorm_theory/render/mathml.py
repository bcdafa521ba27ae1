"""Formulas as presentation MathML, with the names of :mod:`spannorm_theory.base.symbols`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape, unescape
from typing import Any

from markupsafe import Markup
from sympy import Add, Eq, Expr, Integer, Mul, Pow, Rational, Symbol, fraction, together
from sympy.printing.mathml import MathMLPresentationPrinter

from ..asymptotics.eigenvalue import named
from ..asymptotics.growth import Growth
from ..base.formulas import BALANCED, COLLAPSE, EMBEDDING, RATIO, WORDS, split, words

_GREEK = {
    "sigma": "σ",
    "omega": "ω",
    "gamma": "γ",
    "delta": "δ",
    "lambda": "λ",
    "kappa": "κ",
    "epsilon": "ε",
    "rho": "ρ",
}


class _Printer(MathMLPresentationPrinter):
    """Presentation MathML in which exponents hold no stacked fractions, and sigma_a^2 is one letter with a
    power of its own, so that its square reads sigma_a^4."""

    def __init__(self) -> None:
        super().__init__()
        self._raised = 0

    def _element(self, tag: str, *children: Any) -> Any:
        element = self.dom.createElement(tag)
        for child in children:
            element.appendChild(self.dom.createTextNode(child) if isinstance(child, str) else child)
        return element

    def _print_Symbol(self, sym: Symbol, style: str = "plain") -> Any:
        return self._name(sym, None)

    def _name(self, sym: Symbol, exponent: Expr | None) -> Any:
        base, _, rest = sym.name.partition("_")
        index, _, power = rest.partition("^")
        stem = base.rstrip("'")
        letter = self._element("mi", _GREEK.get(stem, stem))
        total = Integer(power or 1) * (1 if exponent is None else exponent)
        primes = "′" * (len(base) - len(stem))
        upper = []
        if primes:
            upper.append(self._element("mo", primes))
        if total != 1:
            upper.append(self._script(total))
        lower = self._element("mn" if index.isdigit() else "mi", index) if index else None
        top = self._element("mrow", *upper) if len(upper) > 1 else upper[0] if upper else None
        if lower is not None and top is not None:
            return self._element("msubsup", letter, lower, top)
        if lower is not None:
            return self._element("msub", letter, lower)
        return letter if top is None else self._element("msup", letter, top)

    def _script(self, exponent: Expr) -> Any:
        self._raised += 1
        try:
            return self._print(together(exponent))
        finally:
            self._raised -= 1

    def _print_Pow(self, e: Expr) -> Any:
        if e.exp.is_Rational and e.exp.is_negative:
            return self._fraction(Integer(1), Pow(e.base, -e.exp))
        if e.exp == Rational(1, 2):
            return self._element("msqrt", self._print(e.base))
        base, exponent = e.base, e.exp
        if isinstance(base, Symbol):
            return self._name(base, exponent)
        top, bottom = fraction(base)
        if top == 1 and bottom != 1:
            base, exponent = bottom, -exponent
        inner = self._print(base)
        if not (base.is_Atom and base.is_nonnegative):
            inner = self._fenced(inner)
        return self._element("msup", inner, self._script(exponent))

    def _print_Mul(self, expr: Expr) -> Any:
        sign, expr = (-1, -expr) if expr.could_extract_minus_sign() else (1, expr)
        factors = expr.as_ordered_factors()
        # powers of fractions stand before the fraction of everything else, not inside it
        powers = [
            f for f in factors if isinstance(f, Pow) and not f.exp.is_number and fraction(f.base)[1] != 1
        ]
        top, bottom = fraction(Mul(*(f for f in factors if f not in powers), evaluate=False))
        if bottom == 1:
            parts = [self._factor(f) for f in factors]
        else:
            parts = [*map(self._print, powers), self._fraction(top, bottom)]
        row = self._element("mrow", *([] if sign == 1 else [self._element("mo", "−")]))
        for i, part in enumerate(parts):
            if i:
                row.appendChild(self._element("mo", "\u2062"))
            row.appendChild(part)
        return row

    def _print_Rational(self, e: Rational) -> Any:
        number = self._element("mn", str(abs(e.p)))
        if e.q != 1:
            number = self._fraction(Integer(abs(e.p)), Integer(e.q))
        return number if e.p >= 0 else self._element("mrow", self._element("mo", "−"), number)

    _print_Integer = _print_Rational

    def _fraction(self, top: Expr, bottom: Expr) -> Any:
        if not self._raised:
            return self._element("mfrac", self._print(top), self._print(bottom))
        below = self._print(bottom)
        if not (bottom.is_Symbol or bottom.is_Integer):
            below = self._fenced(below)
        return self._element("mrow", self._factor(top), self._element("mo", "/"), below)

    def _factor(self, part: Expr) -> Any:
        printed = self._print(part)
        return self._fenced(printed) if isinstance(part, Add) else printed

    def _fenced(self, inner: Any) -> Any:
        return self._element("mrow", self._element("mo", "("), inner, self._element("mo", ")"))

    def _function(self, head: Any, argument: Expr) -> Any:
        return self._element("mrow", head, self._element("mo", "\u2061"), self._fenced(self._print(argument)))

    def _print_gamma(self, e: Expr) -> Any:
        return self._function(self._element("mi", "Γ"), e.args[0])

    def _print_log(self, e: Expr) -> Any:
        return self._function(self._element("mi", "ln"), e.args[0])

    def _print_harmonic(self, e: Expr) -> Any:
        return self._element("msub", self._element("mi", "H"), self._script(e.args[0]))

    def _print_ExpBase(self, e: Expr) -> Any:
        return self._element("msup", self._element("mi", "e"), self._script(e.exp))

    _print_exp = _print_ExpBase


def markup(expression: Expr) -> str:
    """MathML of an expression, without the ``math`` element around it."""
    text = str(_Printer()._print(expression).toxml()).replace("<mo>-</mo>", "<mo>−</mo>")
    # sympy writes some letters as named entities, which only HTML knows
    return re.sub(r"&(?!lt;|gt;|amp;|#)\w+;", lambda match: unescape(match[0]), text)


def inline(expression: Expr) -> Markup:
    """An expression inside a line of text."""
    return Markup(f"<math>{markup(expression)}</math>")


def display(left: str, relation: str, right: str) -> Markup:
    """A formula on a line of its own, from markup of both sides."""
    return Markup(f'<math display="block"><mrow>{left}<mo>{escape(relation)}</mo>{right}</mrow></math>')


def equation(eq: Eq) -> Markup:
    """An equation on a line of its own."""
    return display(markup(eq.lhs), "=", markup(eq.rhs))


def inline_equation(eq: Eq) -> Markup:
    """An equation inside a line of text, with fractions as tall as on a line of their own."""
    return Markup(f'<math displaystyle="true"><mrow>{markup(eq.lhs)}<mo>=</mo>{markup(eq.rhs)}</mrow></math>')


_AT_EMBEDDING = "<msub><mi>γ</mi><mn>0</mn></msub>"


def quantity(name: str, at: str = "l") -> str:
    """Markup of the name of a closed form or law: moments as symbols at layer ``at``, gains in words.

    The gradient at the embedding is gamma_0: it is given for a unit gradient at the model's output.
    """
    stem, index = split(name)
    if name == RATIO:
        first, last = (f"<msub><mi>γ</mi><mi>{end}</mi></msub>" for end in "0L")
        return f"<mrow>{first}<mo>/</mo>{last}</mrow>"
    if name == EMBEDDING:
        return _AT_EMBEDDING
    if name == BALANCED:
        return f"<mrow>{_AT_EMBEDDING}<mtext>&#160;at&#160;</mtext><mi>ω</mi><mo>=</mo><mi>σ</mi></mrow>"
    if stem == COLLAPSE:
        places = (
            f"<mrow><mn>{index}</mn><mo>,</mo><mi>{end}</mi></mrow>" if index else f"<mi>{end}</mi>"
            for end in "0L"
        )
        first, last = (f"<mn>1</mn><mo>−</mo><msub><mi>ρ</mi>{at}</msub>" for at in places)
        return f"<mrow><mo>(</mo>{last}<mo>)</mo><mo>/</mo><mo>(</mo>{first}<mo>)</mo></mrow>"
    if stem in WORDS:
        return f"<mtext>{escape(words(name))}</mtext>"
    where = f"<mi>{escape(at)}</mi>"
    if index:
        where = f"<mrow><mn>{index}</mn><mo>,</mo>{where}</mrow>"
    return f"<msub><mi>{_GREEK.get(stem, escape(stem))}</mi>{where}</msub>"


def name(quantity_: str, at: str = "l") -> Markup:
    """The name of a closed form or law, inside a line of text."""
    return Markup(f"<math>{quantity(quantity_, at)}</math>")


def theta(law: Growth) -> Markup:
    """The order of a law, Θ(...), inside a line of text; p stands for a largest eigenvalue."""
    return Markup(f"<math><mi>Θ</mi><mo>(</mo>{markup(named(law.shape)[0])}<mo>)</mo></math>")


def law_equation(names: Sequence[str], law: Growth) -> Markup:
    """A law of one or several quantities with its constant, on a line of its own, and the matrices of
    eigenvalues in it on others."""
    (shape, eigenvalues), constant = named(law.shape), law.prefactor
    if shape == 1:
        right = markup(constant)
    elif constant == 1:
        right = markup(shape)
    else:
        front = markup(constant)
        front = f"<mrow><mo>(</mo>{front}<mo>)</mo></mrow>" if isinstance(constant, Add) else front
        right = f"<mrow>{front}<mo>·</mo>{markup(shape)}</mrow>"
    lines = [
        display("<mo>=</mo>".join(quantity(name, "L") for name in names), "→" if shape == 1 else "∼", right)
    ]
    largest = "<msub><mi>λ</mi><mi>max</mi></msub>"
    for p, value in eigenvalues.items():
        lines.append(display(markup(p), "=", f"<mrow>{largest}{markup(value.matrix)}</mrow>"))
    return Markup("").join(lines)
