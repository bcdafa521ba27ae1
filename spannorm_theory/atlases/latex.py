r"""The atlas as a booktabs longtable, ready for \input: laws in symbols, numbers of what was iterated."""

from __future__ import annotations

from collections.abc import Sequence

from ..base import symbols
from ..render.latex_text import escape
from ..spec.placements import PLACEMENTS
from .records import SHOWN, Cell, Found
from .trend import Trend

_HEAD = (
    "Placement",
    "Scaling rule",
    r"$q_L$",
    r"$\gamma_0$",
    r"$\frac{1-\rho_L}{1-\rho_0}$",
    "Identity gain",
    "Check",
)

#: laws whose LaTeX is longer are given by their numbers
LONGEST = 120


def longtable(cells: Sequence[Cell]) -> str:
    """The table; needs the packages booktabs, longtable and amsmath."""
    rows = []
    for i, cell in enumerate(cells):
        new = i == 0 or cells[i - 1].arch.placement != cell.arch.placement
        if new and i:
            rows.append(r"\addlinespace")
        first = escape(_title(cell)) if new else ""
        laws = [_law(cell.found.get(name)) for name in SHOWN]
        check = {"ok": r"$\checkmark$", "no law": "--"}.get(cell.checked, escape(cell.checked))
        rows.append(" & ".join([first, escape(cell.arch.scaling), *laws, check]) + r" \\")
    head = " & ".join(_HEAD) + r" \\"
    note = (
        r"\multicolumn{7}{l}{\footnotesize $\approx$: fitted to the iterated step at aligned tokens, not "
        r"derived.} \\"
    )
    return "\n".join(
        [
            "% needs: booktabs, longtable, amsmath, amssymb",
            r"\begin{longtable}{llllllc}",
            r"\toprule",
            head,
            r"\midrule",
            r"\endhead",
            r"\bottomrule",
            note,
            r"\endlastfoot",
            *rows,
            r"\end{longtable}",
            "",
        ]
    )


def _title(cell: Cell) -> str:
    entry = PLACEMENTS[cell.arch.name].title
    options = cell.arch.placement.removeprefix(cell.arch.name)
    return entry + (" " + options if options else "")


def _law(found: Found | None) -> str:
    if found is None or found.trend is None:
        return "--"
    if found.law is None:
        return rf"$\approx {_numbers(found.trend)}$"
    text = symbols.latex(found.law.shape)
    return f"${text if len(text) <= LONGEST else _numbers(found.trend)}$"


def _numbers(trend: Trend) -> str:
    """A trend without its constant."""
    parts = []
    if trend.factorial:
        parts.append(f"e^{{{trend.factorial:.3g} L \\ln L}}")
    for rate, exponent in trend.exponentials:
        root = "" if exponent == 1 else f"^{{{exponent:.2g}}}"
        parts.append(f"e^{{{_plain(rate)} L{root}}}")
    if trend.power:
        parts.append(f"L^{{{_plain(trend.power)}}}")
    if trend.log_power:
        parts.append(f"(\\ln L)^{{{_plain(trend.log_power)}}}")
    return r" \, ".join(parts) or "1"


def _plain(x: float) -> str:
    """A number without e-notation."""
    mantissa, _, exponent = f"{x:.3g}".partition("e")
    return f"{mantissa} \\cdot 10^{{{int(exponent)}}}" if exponent else mantissa
