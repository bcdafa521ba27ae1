"""A placement under a rule in formulas: its block's equations and its laws, as MathML, and its diagram."""

from __future__ import annotations

import re
from html import escape
from typing import Any

from sympy import Eq

from ..asymptotics.eigenvalue import named
from ..asymptotics.growth import Growth
from ..base.formulas import words
from ..render import mathml
from ..render.equations import equations
from ..render.recursion import derive

#: a formula whose text is longer is left to the library
LONGEST = 600


def formulas(placement: str, scaling: str) -> dict[str, Any]:
    """Equations and laws of one block.

    Returns:
        "block": the block's definition in words; "equations": markup, forward then backward, with moments
        named in steps where there are several streams; "laws": pairs of markup, of a quantity's name and of
        its order in depth with its constant, or of a sentence where there is none.
    """
    recursion = derive(placement, scaling)
    forward, backward = equations(recursion)
    return {
        "block": str(recursion.block.trace),
        "equations": [_equation(e) for e in (*forward, *backward)],
        "laws": [[_name(name), _law(law)] for name, law in recursion.asymptotics().items()],
    }


def _equation(one: Eq) -> str:
    if len(str(one.rhs)) <= LONGEST:
        return mathml.equation(one)
    return f"{mathml.inline(one.lhs)} {_long(one.rhs)}"


def _name(name: str) -> str:
    """A law's name: moments as symbols, and words as words, which break where lines do."""
    found = mathml.quantity(name, "L")
    return escape(words(name)) if found.startswith("<mtext>") else str(mathml.name(name, "L"))


def _law(law: Growth | str) -> str:
    if isinstance(law, str):
        return escape(law)
    shape = named(law.shape)[0]
    order = mathml.theta(law) if len(str(shape)) <= LONGEST else _long(shape)
    if law.prefactor == 1 or str(law.prefactor) == "C":
        return order
    short = len(str(law.prefactor)) <= LONGEST
    return f"{order}<br>constant {mathml.inline(law.prefactor) if short else _long(law.prefactor)}"


def _long(formula: object) -> str:
    return f"<small>long formula ({len(str(formula))} characters)</small>"


def diagram(placement: str, scaling: str) -> str:
    """The block diagram as SVG."""
    from ..plot.canvas.paper import render
    from ..plot.diagram.diagram import block_diagram

    figure = block_diagram(placement, scaling=scaling, title=False).get_figure(root=True)
    assert figure is not None
    return small(render(figure, "svg").decode())


def small(svg: str) -> str:
    """An SVG without what its picture does not need: metadata, names of groups, clips to its own frame, white
    space, more than five digits."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r' clip-path="[^"]*"| id="(?:figure|axes|patch|line2d|text)_\d+"', "", body)
    body = re.sub(r"<clipPath.*?</clipPath>", "", body, flags=re.DOTALL)
    body = re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.5g}", body)
    return re.sub(r">\s+<", "><", re.sub(r"\s+", " ", body)).strip()
