r"""The laws of several streams: gradient at the embedding, and rank collapse.

The gradient's second moments at all stream pairs go back through a block by a matrix M_l of non-negative
entries, differences between tokens go on by D_l. A product of such matrices has a law here in three cases.

*A common ratio.* The streams start as one, so the gradient at the embedding is w^T M_0 ... M_(L-1) r, with r
from the readout and w = (1, or 2 for a cross moment). If w^T M_l = rho(l) w^T in every block, it is
w^T r prod rho(l); likewise differences, which start as ones, where D_l 1 = rho(l) 1.

*Blocks near the identity*, whose distances from it add up to something bounded: :mod:`.near_identity`.

*Blocks that tend to a diagonal matrix as 1/l*: :mod:`.of_matrices`.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter

from sympy import Expr, Matrix, factor, ones, zeros

from ..base import symbols
from ..base.errors import NoClosedForm
from ..derivation.closed_forms import product_of_ratios
from ..derivation.rank_collapse import difference_map
from ..derivation.recurrence import Recurrence
from ..moments.one_token import Step, tidy
from .growth import Growth, first_of
from .near_identity import NearIdentity, placed
from .of_closed_forms import growth
from .of_matrices import law_of_matrices
from .of_products import product_of_blocks

L, l = symbols.depth, symbols.layer


def coupled_law(recurrence: Recurrence) -> Growth:
    """Growth of the second moment of the gradient at the embedding, for a unit gradient at the output.

    Raises:
        NoClosedForm: no case holds; the message says why.
    """
    pairs, matrix = recurrence.step.pairs, attrgetter("backward_terms")
    start = Matrix([[1 if i == j else 2 for i, j in pairs]])

    def common() -> Growth:
        ratio = _common_ratio(recurrence, start, matrix)
        end = {p: recurrence.moment_at(p, L) for p in pairs}
        out = (start * matrix(recurrence.readout))[0].subs(placed(recurrence.readout, end))
        return growth(factor(out), L) + _law(ratio, recurrence.start)

    def near_identity() -> Growth:
        near, row = NearIdentity(recurrence), start
        for step, place in near.opening:
            row = row * matrix(step).subs(place)
        return near.law(row, matrix(recurrence.readout), matrix)

    def of_matrices() -> Growth:
        return law_of_matrices(recurrence, matrix, list(matrix(recurrence.readout)))

    return first_of(common, near_identity, of_matrices)


def differences_law(recurrence: Recurrence, stream: int) -> Growth:
    """Growth of (1 - rho_L) / (1 - rho_0) of a stream, near rho = 1.

    Raises:
        NoClosedForm: no case holds; the message says why.
    """
    pair, size = (stream, stream), len(recurrence.step.pairs)

    def row(moment: Expr) -> Matrix:
        """A row that reads the stream's difference, times ``moment``."""
        found = zeros(1, size)
        found[recurrence.step.pairs.index(pair)] = moment
        return found

    def transposed(step: Step) -> Matrix:
        return difference_map(step).T

    def common() -> Growth:
        ratio = _common_ratio(recurrence, ones(1, size), transposed)
        started = growth(symbols.initial_variance / recurrence.moment_at(pair, L), L)
        return started + _law(ratio, recurrence.start)

    def near_identity() -> Growth:
        near, column = NearIdentity(recurrence), ones(size, 1)
        for step, place in near.opening:
            column = difference_map(step).subs(place) * column
        return near.law(row(symbols.initial_variance / near.moments[pair]), column, difference_map)

    def of_matrices() -> Growth:
        return law_of_matrices(recurrence, transposed, list(row(1 / recurrence.step.moment(*pair))))

    return first_of(common, near_identity, of_matrices)


def _common_ratio(recurrence: Recurrence, row: Matrix, matrix: Callable[[Step], Matrix]) -> Expr:
    """rho(l) with ``row`` M_l = rho(l) ``row`` in every block and turn.

    Raises:
        NoClosedForm: there is none, or the stream moments have no closed form or are not all equal.
    """
    if recurrence.opening or recurrence.before is not None:
        raise NoClosedForm("blocks differ")
    closed = {recurrence.moment_at(pair, l) for pair in recurrence.step.pairs}
    if len(closed) > 1:
        raise NoClosedForm("the streams' moments differ")
    q = symbols.variance
    ratios = set()
    for step in recurrence.turns:
        place = placed(step, dict.fromkeys(step.pairs, q))
        if len({tidy(f.subs(place)) for f in step.forward.values()}) > 1:
            raise NoClosedForm("the streams' moments differ")
        carried = row * matrix(step).subs(place)
        # roots cancel over one denominator, and what is left has one factored form
        ratios |= {tidy(tidy(after / before)) for after, before in zip(carried, row, strict=True)}
    if len(ratios) > 1:
        raise NoClosedForm("the streams' gradients or differences have no common ratio")
    return factor(ratios.pop().subs(q, closed.pop()))


def _law(ratio: Expr, start: Expr) -> Growth:
    """Growth of prod_l ratio(l) of numbers."""
    return first_of(
        lambda: growth(product_of_ratios(ratio, start), L), lambda: product_of_blocks(ratio, start)
    )
