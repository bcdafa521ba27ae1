r"""Laws of one stream whose second moment is known to leading order alone.

q of the recurrence q' = a q + b without a closed form is c l^p (1 + O(l^-epsilon)), p > 0, where a and b are
algebraic in l (:func:`.of_products.linear_law`). Where a block's factor r depends on it so weakly that
d ln r / d ln q is O(1/l), what q leaves open changes ln r by O(l^-1-epsilon), which adds up to a constant:
the law is that of r at c l^p, and its constant stays open.
"""

from __future__ import annotations

from sympy import Expr, Symbol, exp

from ..base import symbols
from ..base.errors import NoClosedForm
from ..derivation.rank_collapse import collapse_factor
from ..derivation.recurrence import Recurrence
from .by_layer import layer_law
from .growth import Growth
from .of_products import linear_law, order_of

l = symbols.layer


class Leading:
    """The laws of such a stack.

    Raises:
        NoClosedForm: the second moment does not grow as a power of l.
    """

    def __init__(self, recurrence: Recurrence) -> None:
        state = recurrence.step.moment(0, 0)
        if recurrence.before is not None or len(recurrence.turns) > 1 or not isinstance(state, Symbol):
            raise NoClosedForm("its blocks differ, or a norm fixes its second moment")
        self._step, self._state = recurrence.step, state
        self._size = linear_law(recurrence.step.forward[0, 0], state)
        if not self._size.power.is_positive or self._size.log_power != 0:
            raise NoClosedForm("its second moment does not grow as a power of l")

    def forward(self) -> Growth:
        """Growth of q_L."""
        return self._size

    def gradient(self) -> Growth:
        """Growth of gamma_0 / gamma_L."""
        return self._product(self._step.backward_matrix[0, 0])

    def collapse(self) -> Growth:
        """Growth of (1 - rho_L) / (1 - rho_0), near rho = 1."""
        return self._product(collapse_factor(self._step))

    def _product(self, ratio: Expr) -> Growth:
        place = {self._state: exp(self._size.constant) * l**self._size.power}
        slope = (self._state * ratio.diff(self._state) / ratio).subs(place)
        law = layer_law(ratio.subs(place))
        if law.stretched or (slope != 0 and not (order_of(slope, l).power + 1).is_nonpositive):
            raise NoClosedForm("its factors depend on more than the order of its second moment")
        return law
