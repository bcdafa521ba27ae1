"""What was derived of one placement under one rule, as formulas for its page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..asymptotics.growth import Growth
from ..render import mathml
from ..render.equations import Stage, stages
from ..render.html import Formula
from ..render.recursion_latex import once
from .cells import Cell

#: bounds with shorter texts than this stand on one line
ONE_LINE = 110


@dataclass(frozen=True)
class Derived:
    """Formulas under a rule.

    Attributes:
        recursion: which blocks, where there are several kinds, with their equations.
        like: the rule that has the equations which ``recursion`` does not repeat; empty where it has all.
        start: the layer from which on closed forms hold; empty where it is the first.
        missing: what has no closed form or law, and why.
    """

    scaling: str
    recursion: list[tuple[str, list[Formula]]]
    start: str
    closed: list[Formula]
    laws: list[Formula]
    bounds: list[Formula]
    missing: list[tuple[str, str]]
    like: str = ""

    @property
    def euler(self) -> bool:
        """Whether laws that are in sight have the gamma function."""
        return any("Γ" in line.markup for line in self.laws if not line.folded)


def derived(cells: Sequence[Cell]) -> list[Derived]:
    """The formulas of each cell; where most equations are those of the first, the others alone."""
    first, *later = map(_whole, cells)
    return [first, *(_beside(one, first) for one in later)]


def _beside(one: Derived, first: Derived) -> Derived:
    known = {line.markup for _, lines in first.recursion for line in lines}
    kept = [(blocks, [line for line in lines if line.markup not in known]) for blocks, lines in one.recursion]
    left, count = (sum(len(lines) for _, lines in recursion) for recursion in (kept, one.recursion))
    if len(one.recursion) > 1 or 2 * left > count:
        return one
    return replace(one, recursion=kept, like=first.scaling)


def _whole(cell: Cell) -> Derived:
    kinds = stages(cell.recursion)
    return Derived(
        cell.arch.scaling,
        [("" if len(kinds) == 1 else stage.blocks, list(_equations(stage))) for stage in kinds],
        str(cell.closed.start) if cell.closed.start else "",
        list(_closed(cell)),
        list(_laws(cell)),
        list(_bounds(cell)),
        list(_missing(cell)),
    )


def _equations(stage: Stage) -> Iterator[Formula]:
    for one in (*stage.forward, *stage.backward):
        yield Formula.of(mathml.equation(one), str(one), mathml.inline(one.lhs))


def _closed(cell: Cell) -> Iterator[Formula]:
    for name, value in cell.closed.found.items():
        markup = mathml.display(mathml.quantity(name), "=", mathml.markup(value))
        yield Formula.of(markup, str(value), mathml.name(name))


def _laws(cell: Cell) -> Iterator[Formula]:
    for names, law in once(cell.laws):
        if isinstance(law, Growth):
            heading = mathml.name(names[0], "L") + " " + mathml.theta(law)
            yield Formula.of(mathml.law_equation(names, law), str(law), heading)


def _missing(cell: Cell) -> Iterator[tuple[str, str]]:
    for name, reason in cell.closed.missing.items():
        yield mathml.name(name), reason
    for name, law in cell.laws.items():
        if not isinstance(law, Growth) and name not in cell.closed.missing:
            yield mathml.name(name, "L"), law


def _bounds(cell: Cell) -> Iterator[Formula]:
    for name, (low, high) in cell.recursion.bounds().items():
        middle = mathml.quantity(name)
        below, above = mathml.markup(low), mathml.markup(high)
        if low == high:
            yield Formula.of(mathml.display(middle, "=", below), "", "")
        elif len(str(low)) + len(str(high)) <= ONE_LINE:
            yield Formula.of(mathml.display(below, "≤", f"{middle}<mo>≤</mo>{above}"), "", "")
        else:
            title = mathml.name(name)
            yield Formula.of(mathml.display(middle, "≥", below), str(low), "lower bound of " + title)
            yield Formula.of(mathml.display(middle, "≤", above), str(high), "upper bound of " + title)
