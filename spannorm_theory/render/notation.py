"""The notation table of the documentation, from the symbols and quantities that the code uses.

python -m spannorm_theory.render.notation > docs/notation.md
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..base.quantities import QUANTITIES
from ..base.symbols import NOTATION, latex_name

_HEAD = """\
# Notation

Generated from `spannorm_theory/symbols.py` and `spannorm_theory/quantities.py`.

## Symbols of the theory

With several streams, moments carry the streams' numbers: $q_{01}$ is that of streams 0 and 1. A prime marks
the moment after a block. At a loss gradient, $\\gamma$ is per coordinate, like $q$.
"""

_QUANTITIES = """\

## Quantities of the tables

Boundary values stand at layers 0 (the input) to $L$ (the last block's output, before any readout norm),
those of a block at 0 to $L-1$. Logarithmic quantities are averaged and compared through their logarithms. The
stream of a weight gradient is the matrix's name.
"""


def markdown() -> str:
    """docs/notation.md."""
    symbols = [(f"${latex_name(symbol)}$", f"`{name}`", meaning) for symbol, name, meaning in NOTATION]
    quantities = [
        (
            f"`{quantity.name}`",
            f"${quantity.latex}$",
            quantity.label,
            "block" if quantity.per_block else "boundary",
            "yes" if quantity.logarithmic else "no",
        )
        for quantity in QUANTITIES.values()
    ]
    lines = [_HEAD, *_table(("symbol", "in code", "meaning"), symbols), _QUANTITIES]
    lines += _table(("name", "symbol", "meaning", "layers", "logarithmic"), quantities)
    return "\n".join(lines) + "\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(header) + " |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |"


if __name__ == "__main__":
    print(markdown(), end="")
