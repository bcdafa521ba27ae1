"""The notation table of the documentation, from the letters and quantities that the code uses.

python -m spannorm_theory.render.notation > docs/notation.md
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..base.letters import LETTERS
from ..base.quantities import LOGGED, QUANTITIES

_HEAD = """\
# Notation

Every letter of the theory, its name in the code, and the equation of [theory.md](theory.md) that has it.
Generated from `spannorm_theory/base/letters.py` and `spannorm_theory/base/quantities.py`.

With several streams, moments carry the streams' numbers: $q_{01}$ is that of streams 0 and 1. A prime marks
the moment after a block. Moments and covariances are per coordinate, of signals and of gradients; norms of
weight gradients are not. A letter that stands for two things is listed with each.
"""

_QUANTITIES = """\
## Quantities of the tables

Boundary values stand at layers 0 (the input) to $L$ (the last block's output, before any readout norm),
those of a block at 0 to $L-1$; what a training log holds of a stack at 0, of the stream `output`. Logarithmic
quantities are averaged and compared through their logarithms. The stream of a weight gradient is the matrix's
name.
"""


def markdown() -> str:
    """docs/notation.md."""
    lines = [_HEAD]
    for heading, letters in LETTERS.items():
        rows = [(f"${x.latex}$", _code(x.code), x.meaning, x.equation) for x in letters]
        lines += [f"## {heading}\n", *_table(("letter", "in code", "meaning", "equation"), rows), ""]
    quantities = [
        (
            f"`{quantity.name}`",
            f"${_spaced(quantity.latex)}$",
            quantity.label,
            "stack" if quantity.name in LOGGED else "block" if quantity.per_block else "boundary",
            "yes" if quantity.logarithmic else "no",
        )
        for quantity in QUANTITIES.values()
    ]
    lines += [_QUANTITIES, *_table(("name", "symbol", "meaning", "layers", "logarithmic"), quantities)]
    return "\n".join(lines) + "\n"


def _spaced(latex: str) -> str:
    """LaTeX without the thin space's comma, of which Markdown takes the backslash."""
    return latex.replace(r"\,", r"\thinspace ")


def _code(names: str) -> str:
    return ", ".join(f"`{name}`" for name in names.split(", "))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(header) + " |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |"


if __name__ == "__main__":
    print(markdown(), end="")
