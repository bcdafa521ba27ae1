r"""Recursions with a name for each moment of a saturating function in a norm's place.

With M = E phi^2 and S = E phi'^2 of the function in front of branch i written m_i and s_i, a block's step is
linear in q and rational in (l, L, m_i, s_i), however M and S depend on q. What laws need of them is that they
are positive and bounded (:mod:`.bounded`), and how they level off (:mod:`.saturating`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from sympy import Expr, Symbol

from ..base import symbols
from ..base.errors import NoClosedForm
from ..derivation.recurrence import Recurrence
from ..gaussian.activations import ACTIVATIONS
from ..gaussian.saturation import Saturation
from ..moments.one_token import BranchGain
from ..spec.graph import Branch


def saturation(branch: Branch) -> Saturation:
    """How a branch's element-wise function levels off.

    Raises:
        NoClosedForm: it is not known to.
    """
    found = ACTIVATIONS[branch.kind].saturation
    if found is None:
        raise NoClosedForm(
            f"{branch.kind} is not registered with a saturation, so nothing bounds what it puts out"
        )
    return found


def names(branch: Branch) -> tuple[Symbol, Symbol]:
    """(m_i, s_i) of an element-wise branch."""
    return symbols.positive(f"m_{branch.index}"), symbols.positive(f"s_{branch.index}")


@lru_cache(maxsize=64)
def named(gains: BranchGain) -> BranchGain:
    """Branch gains with these names in the place of an element-wise function's moments."""

    def found(branch: Branch, u: Expr) -> tuple[Expr, Expr]:
        if not branch.elementwise:
            return gains(branch, u)
        saturation(branch)
        return names(branch)

    return found


@dataclass(frozen=True)
class Levelled(Recurrence):
    """A recurrence with these names; it behaves as any other."""

    @property
    def _gains(self) -> BranchGain:
        return named(super()._gains)


def levelled(recurrence: Recurrence) -> Recurrence:
    """A recurrence with names for moments of element-wise functions; itself where there are none."""
    if not any(branch.elementwise for branch in recurrence.block.trace.branches):
        return recurrence
    r = recurrence
    return Levelled(r.placement, r.scaling, r.activation, r.name, r.options, r.early)
