r"""The balance of Theorem 1, evaluated for every registered placement that has no element-wise function in a
norm's place: K before a block minus K after it against the sum over branches of (beta u - b) g."""

from __future__ import annotations

from random import Random
from typing import Any

from sympy import Expr, Float, Integer

import spannorm_theory as st
from spannorm_theory.base import symbols
from spannorm_theory.moments.adjoint import Adjoint
from spannorm_theory.moments.algebra import SCALAR, Moments
from spannorm_theory.moments.one_token import Step, constant_gains
from spannorm_theory.spec.graph import Branch
from spannorm_theory.spec.placements import PLACEMENTS

#: rounding of a few dozen operations
PRECISION = 1e-11


#: the block, and the sizes of the stack, at which rules are taken
PLACE: dict[Expr, Expr] = {symbols.layer: Integer(3), symbols.depth: Integer(7), symbols.width: Integer(64)}


def _at_random(step: Step, random: Random) -> Step:
    """A block with numbers for the moments of its streams and the gains of its branches."""
    gains = {gain: Float(random.uniform(0.5, 2)) for pair in symbols.GAINS.values() for gain in pair}

    def numbers(branch: Branch, u: Expr) -> tuple[Expr, Expr]:
        sigma2, omega2 = constant_gains(branch, u)
        return sigma2.subs(gains | PLACE), omega2.subs(gains | PLACE)

    return Step(step.trace, numbers, tuple((pair, Float(random.uniform(0.5, 2))) for pair in step.pairs))


def _sides(step: Step) -> tuple[Any, Any]:
    """(beta u - b) g summed over the branches of a block, and K before it minus K after it."""

    def forward(branch: Branch, u: Any) -> Any:
        return step.gains(branch, u)[0]

    moments = Moments(step.trace, SCALAR, step.moment, forward)
    adjoint = Adjoint(moments)

    def backward(branch: Branch, g: Any) -> Any:
        origin = adjoint.origin[branch.index]
        return step.gains(origin, moments.cov(origin.source, origin.source))[1] * g

    gradients = Moments(adjoint.trace, SCALAR, step.gradient, backward)
    total: Any = 0
    for branch in step.trace.branches:
        u = moments.cov(branch.source, branch.source)
        b, beta = step.gains(branch, u)
        at = adjoint.at[branch.index]
        total += (beta * u - b) * gradients.cov(at, at)
    before = after = 0
    for i, j in step.pairs:
        weight = 1 if i == j else 2
        before += weight * step.moment(i, j) * step.backward[i, j]
        after += weight * step.forward[i, j] * step.gradient(i, j)
    return total, before - after


def check_balance() -> list[str]:
    """The placements for which both sides agree at random moments and gains.

    Raises:
        ValueError: naming a placement for which they differ.
    """
    random, checked = Random(0), []
    for name in PLACEMENTS:
        step = st.derive(name).block
        if any(branch.elementwise for branch in step.trace.branches):
            continue
        sides = _sides(_at_random(step, random))
        unknowns = sorted(set().union(*(side.free_symbols for side in sides)) - set(PLACE), key=str)
        values = PLACE | {s: Float(random.uniform(0.5, 2)) for s in unknowns}
        left, right = (float(side.subs(values)) for side in sides)
        if abs(left - right) > PRECISION * (1 + abs(left)):
            raise ValueError(f"the balance fails for {name}: {left} against {right}")
        checked.append(name)
    return checked
