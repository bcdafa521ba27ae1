"""The rule that the standard deviations of a role follow over the layers, found from the tensors alone.

First the dependence on the layer: none, or a power of l + 1, the first that all layers fit within their
errors. Then the constant: a round number or a formula of the shape, times a factor of depth. Of several
readings that fit, the one is taken that explains the most roles with the fewest bases, which is how people
write it. A role that nothing fits keeps its measured values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import floor, inf, log, log10

import numpy as np
from sympy import Eq, Expr, Integer, Piecewise, Rational, sqrt

from ..base import symbols
from .observed import STRAY, Observed

#: what it is worth to explain a role, in the units in which bases and factors cost
WORTH = 6.0
#: a base that explains less is as likely a chance
LEAST = 3.5
#: cost of another base in one initialisation, and of a number that was bound to fit
ANOTHER, CHANCE = 0.5, 5.0
#: the matrices that factors of depth are for, and cost of one on another matrix
ENDS, AWAY = ("attn.output", "ffn.down"), 2.0

#: the largest relative error of a constant that says which number was meant
TELLING = 0.1

l, L, ZERO = symbols.layer, symbols.depth, Integer(0)


@dataclass(frozen=True)
class Rule:
    """The standard deviation of a role as an expression in (l, L, d), and in words; ``known`` where a round
    number or formula was recognised."""

    role: str
    std: Expr
    words: str
    known: bool


@dataclass(frozen=True)
class Base:
    """A number that people start from: words, value for a role, and cost as an explanation."""

    words: str
    value: Callable[[Observed, int], float]
    expression: Callable[[Observed], Expr]
    cost: float


@dataclass(frozen=True)
class Factor:
    """A factor of depth: words behind the base, expression, and cost; of the dependence ``power`` on l +
    1."""

    words: str
    expression: Expr
    cost: float
    power: Rational = ZERO


FORMULAS = (
    Base("1/√inputs", lambda o, d: o.inputs**-0.5, lambda o: 1 / sqrt(o.inputs), 0),
    Base(
        "√(2/(inputs+outputs))",
        lambda o, d: (2 / (o.inputs + o.outputs)) ** 0.5,
        lambda o: sqrt(Rational(2, o.inputs + o.outputs)),
        1,
    ),
    Base("1/√(3 inputs)", lambda o, d: (3 * o.inputs) ** -0.5, lambda o: 1 / sqrt(3 * o.inputs), 1),
    Base("√(2/inputs)", lambda o, d: (2 / o.inputs) ** 0.5, lambda o: sqrt(Rational(2, o.inputs)), 1),
    Base("√(2/(5d))", lambda o, d: (2 / (5 * d)) ** 0.5, lambda o: sqrt(2 / (5 * symbols.width)), 1),
    Base("1/√d", lambda o, d: d**-0.5, lambda o: 1 / sqrt(symbols.width), 1.5),
    Base("2/√d", lambda o, d: 2 * d**-0.5, lambda o: 2 / sqrt(symbols.width), 3),
)
_HALF, _QUARTER = Rational(-1, 2), Rational(-1, 4)
FACTORS = (
    Factor("", Integer(1), 0),
    Factor("/√(2L)", 1 / sqrt(2 * L), 0.5),
    Factor("/√L", 1 / sqrt(L), 1),
    Factor("/L", 1 / L, 1.5),
    Factor("/(2L)", 1 / (2 * L), 1.5),
    Factor(" (8L)^(-1/4)", (8 * L) ** _QUARTER, 2),
    Factor(" (2L)^(-1/4)", (2 * L) ** _QUARTER, 2),
    Factor("/√(2(l+1))", 1 / sqrt(2 * (l + 1)), 0.5, _HALF),
    Factor("/√(l+1)", 1 / sqrt(l + 1), 1, _HALF),
    Factor("/(l+1)^(1/4)", (l + 1) ** _QUARTER, 0.5, _QUARTER),
    Factor("/(2(l+1))^(1/4)", (2 * (l + 1)) ** _QUARTER, 1, _QUARTER),
    Factor("/(l+1)", 1 / (l + 1), 0.5, Integer(-1)),
)
POWERS = (ZERO, _HALF, _QUARTER, Integer(-1))


@dataclass(frozen=True)
class _Fitted:
    """A role whose standard deviation is a constant times a power of l + 1.

    Attributes:
        error: relative standard error of the constant.
        left: what a cut leaves of the standard deviation that was asked for.
    """

    one: Observed
    power: Rational
    constant: float
    error: float
    left: float

    def is_read(self, base: Base, factor: Factor, depth: int, width: int) -> bool:
        """Whether base times factor is the constant, within its error."""
        expected = base.value(self.one, width) * _at_first(factor, depth) * self.left
        return abs(log(self.constant / expected)) < STRAY * max(self.error, 1e-7)


def rules_of(roles: Sequence[Observed], depth: int, width: int) -> dict[str, Rule]:
    """The rule of each role, by its name."""
    found: dict[str, Rule] = {}
    left: dict[str, _Fitted] = {}
    for one in roles:
        if not one.stds.any():
            found[one.role] = Rule(one.role, Integer(0), "0", True)
            continue
        fitted = _fitted(one)
        if fitted is None:
            found[one.role] = _by_layer(one)
        else:
            left[one.role] = fitted
    readings = _readings(left, depth, width)
    while left:
        base, explained = _best(left, readings)
        if base is None:
            break
        for role, factor in explained.items():
            found[role] = _named(left.pop(role), base, factor)
    found |= {role: _literal(one) for role, one in left.items()}
    return {one.role: found[one.role] for one in roles}


def _fitted(one: Observed) -> _Fitted | None:
    """The role with the first power of l + 1 that all layers follow within their errors."""
    if not one.stds.all():
        return None
    logs, error = np.log(one.stds), one.constant_error
    for power in POWERS:
        rest = logs - float(power) * np.log1p(one.layers)
        if (np.abs(rest - rest.mean()) / np.hypot(one.errors, error)).max() < STRAY:
            return _Fitted(one, power, float(np.exp(rest.mean())), error, one.left)
    return None


def _readings(roles: Mapping[str, _Fitted], depth: int, width: int) -> list[tuple[Base, dict[str, Factor]]]:
    """Every base, with the cheapest factor of each role that it reads. A factor so odd that another base
    alone is cheaper counts as none: at some depth any two numbers are alike."""
    result = []

    def cost(role: str, factor: Factor) -> float:
        return factor.cost + AWAY * (factor.expression.has(L) and role not in ENDS)

    for base in _bases(roles.values(), depth):
        read = {}
        for role, one in roles.items():
            fitting = [f for f in _factors(one.power) if one.is_read(base, f, depth, width)]
            if fitting:
                read[role] = min(fitting, key=lambda f: f.cost)
        result.append((base, read))
    alone = {
        role: min(base.cost + cost(role, r[role]) for base, r in result if role in r)
        for _, r in result
        for role in r
    }
    return [
        (base, {role: f for role, f in read.items() if cost(role, f) <= alone[role] + ANOTHER})
        for base, read in result
    ]


def _best(
    left: Mapping[str, _Fitted], readings: Sequence[tuple[Base, dict[str, Factor]]]
) -> tuple[Base | None, dict[str, Factor]]:
    """The base that explains the most, and with which factor each role."""
    best: tuple[float, Base | None, dict[str, Factor]] = (LEAST, None, {})
    for base, read in readings:
        explained = {role: factor for role, factor in read.items() if role in left}
        worth = sum(WORTH - factor.cost for factor in explained.values()) - base.cost
        if explained and worth > best[0]:
            best = worth, base, explained
    return best[1], best[2]


def _factors(power: Rational) -> list[Factor]:
    return [f for f in FACTORS if f.power == power]


@lru_cache(maxsize=1024)
def _at_first(factor: Factor, depth: int) -> float:
    return float(factor.expression.subs({L: depth, l: 0}))


def _bases(roles: Iterable[_Fitted], depth: int) -> list[Base]:
    """The formulas, and every round number that a role may mean under some factor."""
    numbers: dict[float, float] = {}
    for one in roles:
        if one.error > TELLING:
            continue
        for factor in _factors(one.power):
            constant = one.constant / _at_first(factor, depth) / one.left
            for digits, cost in enumerate((0.0, 2.0, 3.0), start=1):
                number = _rounded(constant, digits)
                step = 10.0 ** (floor(log10(number)) - digits + 1) / number
                chance = min(2 * STRAY * one.error / step, 1.0)  # that some number of so many digits fits
                numbers[number] = min(cost + CHANCE * chance, numbers.get(number, inf))
    return [*FORMULAS, *(_number(number, cost) for number, cost in sorted(numbers.items()))]


def _number(number: float, cost: float) -> Base:
    return Base(f"{number:g}", lambda o, d: number, lambda o: Rational(str(number)), cost)


def _rounded(number: float, digits: int) -> float:
    return round(number, digits - 1 - floor(log10(number)))


def _named(fitted: _Fitted, base: Base, factor: Factor) -> Rule:
    one = fitted.one
    words = f"{base.words}{factor.words}{f' ({one.law})' if one.law else ''}"
    left = Rational(str(round(fitted.left, 6)))
    return Rule(one.role, base.expression(one) * factor.expression * left, words, True)


def _literal(fitted: _Fitted) -> Rule:
    one, power = fitted.one, fitted.power
    words = {0: "", _HALF: "/√(l+1)", _QUARTER: "/(l+1)^(1/4)", -1: "/(l+1)"}[power]
    std = _exact(fitted.constant) * (l + 1) ** power
    return Rule(one.role, std, f"{fitted.constant:.4g}{words}{f' ({one.law})' if one.law else ''}", False)


def _by_layer(one: Observed) -> Rule:
    """A value for each layer."""
    values = [(_exact(std), Eq(l, int(layer))) for layer, std in zip(one.layers, one.stds, strict=True)]
    std = Piecewise(*values, (_exact(float(one.stds[-1])), True))
    span = f"{one.stds.min():.3g} to {one.stds.max():.3g}, in its own way at every layer"
    return Rule(one.role, std, span, False)


def _exact(number: float) -> Expr:
    return Rational(str(float(f"{number:.7g}"))) if number else Integer(0)


def in_words(rules: Iterable[Rule]) -> str:
    """The rules in one line: each standard deviation, and the roles that have it."""
    groups: dict[str, list[str]] = {}
    for rule in rules:
        groups.setdefault(rule.words, []).append(rule.role)
    parts = [f"{words} on {', '.join(roles)}" for words, roles in groups.items()]
    return f"std {'; '.join(parts)}" if parts else "no matrices"
