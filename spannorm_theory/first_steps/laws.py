r"""How the learning rate must fall with depth and width (T13.11), in symbols.

A matrix of a branch whose output has second moment h, and the gradient there gamma_b, has |G|_F^2 of order
d_in d_out h gamma_b / s, s its gain by the scaling rule, as the branch is linear in it. The decrease of the
loss by the matrices of one role in all blocks is, up to constants,

    sum_l (h gamma_b / s)^p,    p = 1 for sgd, 1/2 for sign descent, adam and polar factors.

Its terms are powers l^a L^b where the moments of the recursion are, times e^(r (L - l)) where gradients grow
exponentially. The coherent change of the output is that sum over its n d coordinates, and the rate must undo
it. Queries and keys, whose gradients are of the order of the square of token differences, have no law here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from sympy import Expr, Integer, Max, Min, Rational, simplify

from ..asymptotics.growth import Growth
from ..asymptotics.laws import moment_law, ratio_law, readout_law
from ..asymptotics.magnitude import Order, Orders
from ..base import arguments
from ..base.errors import InputError, NoClosedForm
from ..derivation.recurrence import Recurrence
from ..moments.constant_gains import GAINS, Gains
from ..spec.graph import VALUE_PATH
from .optimisers import Optimiser, optimiser

#: exponents of the width: of |G|_F^2, |G|_1 and |G|_* over the n d coordinates of the output
WIDTH = {"sgd": -1, "sign": -1, "adam": -1, "orthogonal": 0, "muon": Rational(-1, 2)}


@dataclass(frozen=True)
class StepLaw:
    """Exponents at which the first step moves the output coherently by Theta(1), in the limit of many blocks;
    :func:`.exponents.step_exponents` has those between depths.

    Attributes:
        depth: a of lr = L^a e^(b L) d^c by matrix, where that matrix alone is moved in every block, in the
            gains sigma_a^2, omega_a^2, sigma_f^2, omega_f^2 of branches.
        rate: b by matrix.
        share: the power of l with which a block's share of the decrease goes, by matrix.
        width: c.

    Example:
        >>> import spannorm_theory as st
        >>> st.step_law("pre-norm", "depth-scaled-init", "muon").together
        -1
    """

    depth: Mapping[str, Expr]
    rate: Mapping[str, Expr]
    share: Mapping[str, Expr]
    width: Expr

    @property
    def together(self) -> Expr:
        """The exponent of L where all these matrices are moved at one rate: the smallest of theirs."""
        return simplify(Min(*self.depth.values()))

    def at(self, gains: Gains) -> tuple[float, float]:
        """The rate of the matrix that needs the least in deep stacks, at numbers for the gains of branches.

        Args:
            gains: sigma_a^2, sigma_f^2, omega_a^2 and omega_f^2.

        Returns:
            (a, b) of L^a e^(b L).

        Raises:
            InputError: not four numbers, or a negative one.
        """
        given = arguments.items("gains", gains, "gains")
        if len(given) != len(GAINS):
            raise InputError(f"gains must be four numbers, {', '.join(map(str, GAINS))}; got {len(given)}")
        numbers = {s: arguments.number(str(s), x, zero=True) for s, x in zip(GAINS, given, strict=True)}
        found = [(self.rate[name], self.depth[name]) for name in self.depth]
        rate, power = min((float(b.subs(numbers)), float(a.subs(numbers))) for b, a in found)
        return power, rate


def step_law(placement: str, scaling: str = "unit", rule: str | Optimiser = "adam") -> StepLaw:
    """The law of the learning rate, from the recursion of a placement under a scaling rule.

    Source: docs/theory.md, T13.11.

    Args:
        placement: a registered name, with options in brackets if it has any.
        scaling: a registered scaling rule.
        rule: an optimiser or its name; of adam with an epsilon far below its gradients.

    Returns:
        exponents of depth and width by matrix.

    Raises:
        UnknownNameError: a name that is not registered.
        NoClosedForm: several streams, whose gradients mix; or moments that are no powers of l and L.

    Example:
        >>> import spannorm_theory as st
        >>> law = st.step_law("span-norm", "depth-scaled-init", "sign")
        >>> law.depth["ffn.down"], law.depth["ffn.up"], law.width
        (-1, -1/2, -1)
    """
    return step_laws(Recurrence.of(placement, scaling), [rule])[0]


def step_laws(recurrence: Recurrence, rules: Sequence[str | Optimiser]) -> list[StepLaw]:
    """Laws of several optimisers; arguments and errors otherwise as of :func:`step_law`."""
    gradients = Gradients.of(recurrence)
    return [gradients.law(optimiser(rule).kind) for rule in rules]


@dataclass(frozen=True)
class Gradients:
    """How large the gradients of matrices are, up to constants: what a law of the learning rate is made of.

    Attributes:
        powers: (a, b) of l^a L^b in h gamma_b / s by matrix, for a gradient of one in front of the block.
        ratio: growth of the gradients along the stream.
        front: of those behind the readout.
    """

    powers: Mapping[str, tuple[Expr, Expr]]
    ratio: Growth
    front: Growth

    @classmethod
    def of(cls, recurrence: Recurrence) -> Self:
        """Gradients of a recurrence; errors as of :func:`step_law`."""
        if len(recurrence.step.trace.streams) > 1:
            raise NoClosedForm("the gradients of several streams mix in every block: a product of matrices")
        if recurrence.before is not None or len(recurrence.turns) > 1:
            raise NoClosedForm("blocks are wired in several ways, each with a law of its own")
        ratio, front = ratio_law(recurrence), readout_law(recurrence)
        if ratio.factorial != 0 or ratio.stretched or ratio.rivals or front.rate != 0:
            raise NoClosedForm("gradients grow neither as a power of the depth nor exponentially")
        orders, step = Orders(_known(recurrence)), recurrence.step
        powers: dict[str, tuple[Expr, Expr]] = {}
        for branch, product in zip(step.trace.branches, step.branch_products, strict=True):
            for name in VALUE_PATH.get(branch.kind, ()):
                if name in branch.std:
                    raise NoClosedForm(f"the rule states the standard deviation of {name}, not its gain")
                powers[name] = _power(orders.of(product / branch.gains.get(name, Integer(1)) ** 2))
        return cls(powers, ratio, front)

    def at(self, gains: Gains) -> Self:
        """These at numbers for the gains of branches, of which laws are found sooner."""
        values: dict[Expr, Expr] = {s: Rational(x) for s, x in zip(GAINS, gains, strict=True)}

        def number(exponent: Expr) -> Expr:
            found = exponent.subs(values)
            return found if found.is_number else simplify(found)  # a width or an input cancels

        powers = {name: (number(a), number(b)) for name, (a, b) in self.powers.items()}
        ratio = Growth(rate=number(self.ratio.rate), power=number(self.ratio.power))
        return replace(self, powers=powers, ratio=ratio, front=Growth(power=number(self.front.power)))

    def law(self, kind: str) -> StepLaw:
        """The law of a kind of optimiser."""
        power = Integer(1) if kind == "sgd" else Rational(1, 2)
        ratio, front = self.ratio, self.front
        depth, rate, share = {}, {}, {}
        for name, (a, b) in self.powers.items():
            local, whole = power * (a - ratio.power), power * (b + ratio.power + front.power)
            share[name] = simplify(local)
            rate[name] = -Max(0, power * ratio.rate)
            summed = Max(0, local + 1) if ratio.rate == 0 else _at_end(local, ratio.rate)
            depth[name] = simplify(-(whole + summed))
        return StepLaw(depth, rate, share, Integer(0) + WIDTH[kind])


def _known(recurrence: Recurrence) -> dict[Expr, Order]:
    """Orders of stream moments: powers of l."""
    state = recurrence.step.moment(0, 0)
    if not state.is_Symbol:
        return {}
    law = moment_law(recurrence, (0, 0))
    if any(order != 0 for order in (law.factorial, law.rate, law.log_power)) or law.stretched or law.rivals:
        raise NoClosedForm("the stream's variance is no power of the depth")
    power = (law.power, Integer(0))
    return {state: Order(frozenset([power]), power)}


def _power(order: Order) -> tuple[Expr, Expr]:
    """(a, b) of an order l^a L^b.

    Raises:
        NoClosedForm: it has several terms.
    """
    if len(order.high) != 1 or order.low not in order.high:
        raise NoClosedForm("a branch's share of the gradient is no single power of l and L")
    return next(iter(order.high))


def _at_end(power: Expr, rate: Expr) -> Expr:
    """The power of L that is left of a sum of l^power e^(rate (L - l)): nothing at its lower end, which
    a positive rate weighs, and its last term at the upper."""
    return Max(0, power) if power != 0 else Integer(0)
