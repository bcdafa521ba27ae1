r"""Rank collapse: how fast tokens align, near alignment, derived from the same trace (T12.6).

Near rho = 1 a pair of tokens is described by (q, delta), delta = q - p small. Attention averages tokens, so
in the uniform limit its branch carries no difference between them; a feed-forward branch multiplies a
small difference by omega_f^2, its backward gain (Price's theorem: the slope of the correlation map at one):

    attention  (u, delta) -> (sigma_a^2 u, 0)          ffn  (u, delta) -> (sigma_f^2 u, omega_f^2 delta)

with sigma_a^2 the gain for aligned tokens. Evaluating a block with these pairs gives the factor by which
1 - rho = delta / q shrinks. Below 1 the aligned state attracts (rank collapse), above 1 it repels.
Softmax attention adds only terms of order (1 - rho)^2 v/n to the factor.
"""

from __future__ import annotations

from sympy import Expr, Matrix, Mul, Symbol, factor, sympify

from ..base import symbols
from ..base.errors import NoClosedForm
from ..moments.algebra import PAIR, Moments, Pair
from ..moments.one_token import BranchGain, Step, constant_gains, tidy
from ..spec.graph import Branch
from .closed_forms import product_of_ratios
from .recurrence import Recurrence


def _pair_moments(step: Step, gains: BranchGain = constant_gains) -> Moments:
    """The block evaluated with (q, delta) of every pair of streams near rho = 1."""
    count = len(step.trace.streams)

    def transfer(branch: Branch, cov: Pair) -> Pair:
        sigma2, omega2 = gains(branch, tidy(cov[0]))
        return Pair((sigma2, 0 if branch.kind == "attention" else omega2 * cov[1]))

    def incoming(i: int, j: int) -> Pair:
        return Pair((step.moment(i, j), symbols.stream_moment(symbols.drop, i, j, count)))

    return Moments(step.trace, PAIR, incoming, transfer)


def difference_map(step: Step) -> Matrix:
    """The matrix that takes delta of every pair of streams through the block, near rho = 1."""
    moments = _pair_moments(step)
    count = len(step.trace.streams)
    unknowns = [symbols.stream_moment(symbols.drop, *pair, count) for pair in step.pairs]
    after = [moments.cov(step.trace.outputs[i], step.trace.outputs[j])[1] for i, j in step.pairs]
    return Matrix([[expression.diff(unknown) for unknown in unknowns] for expression in map(sympify, after)])


def collapse_factor(step: Step, gains: BranchGain = constant_gains) -> Expr:
    """(1 - rho) after the block over (1 - rho) before it, for one stream near rho = 1.

    Raises:
        NoClosedForm: several streams, which collapse together at a rate that mixes them.
    """
    if len(step.trace.streams) > 1:
        raise NoClosedForm("several streams collapse together, each by its own law")
    moments = _pair_moments(step, gains)
    after = moments.cov(step.trace.outputs[0], step.trace.outputs[0])
    return factor(tidy(after[1] / after[0] * step.moment(0, 0) / symbols.drop))


def collapse_ratio(recurrence: Recurrence, stop: Expr = symbols.depth) -> Expr:
    """(1 - rho) at layer ``stop`` over that at 0 in closed form, for a stack near rho = 1 throughout.

    Raises:
        NoClosedForm: there is none; the message says why.
    """
    return opening_factor(recurrence) * product_of_ratios(factor_at(recurrence), recurrence.start, stop)


def opening_factor(recurrence: Recurrence) -> Expr:
    """(1 - rho) at the first block from which :attr:`Recurrence.step` holds, over that at 0, near rho = 1."""
    if recurrence.before is not None:
        return collapse_ratio(recurrence.before, recurrence.start)
    return Mul(*(collapse_factor(s).subs(symbols.layer, l) for l, s in enumerate(recurrence.opening)))


def factor_at(recurrence: Recurrence) -> Expr:
    """The factor of 1 - rho in a block from ``start`` on, near rho = 1, as a function of l.

    Raises:
        NoClosedForm: several streams, or no closed form of the stream's moment.
    """
    found, state = recurrence.common(collapse_factor), recurrence.step.moment(0, 0)
    if isinstance(state, Symbol) and found.has(state):
        found = found.subs(state, recurrence.moment_at((0, 0), symbols.layer))
    return factor(found)
