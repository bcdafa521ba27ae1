r"""How a saturating function's second moments level off for large inputs.

Let phi(x)^2 tend to the same limit a^2 on both sides, so fast that int |x|^2 |a^2 - phi^2| dx is finite, and
int |x|^2 phi'^2 dx as well. The density of N(0, q) at x is (2 pi q)^(-1/2) (1 + O(x^2/q)), hence

    M(q) = E phi(u)^2  = a^2 - deficit / sqrt(2 pi q) + O(q^(-3/2)),    deficit = int (a^2 - phi^2) dx,
    S(q) = E phi'(u)^2 =         slope / sqrt(2 pi q) + O(q^(-3/2)),    slope   = int phi'^2 dx,

and both stay bounded at every q, since phi and its slope do.
"""

from __future__ import annotations

from dataclasses import dataclass

from sympy import Expr, pi, sqrt


@dataclass(frozen=True)
class Saturation:
    """The constants of one function.

    Attributes:
        limit: a^2.
        deficit: int (a^2 - phi(x)^2) dx over the line.
        slope: int phi'(x)^2 dx.
    """

    limit: Expr
    deficit: Expr
    slope: Expr

    def moments(self, root: Expr) -> tuple[Expr, Expr]:
        """M and S up to O(q^(-3/2)), as formulas in ``root`` = q^(-1/2)."""
        share = root / sqrt(2 * pi)
        return self.limit - self.deficit * share, self.slope * share
