"""What the explorer shows at once, computed: every design's curves, every placement's formulas and look.

It takes minutes, so that its result is kept in ``grid.json`` beside this file; ``make explorer`` writes it
anew, and a test holds a sample of it against the theory.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..base.errors import AssumptionError
from ..base.files import write_file
from ..base.jsontext import to_json
from ..spec.architecture import Architecture
from ..spec.placements import PLACEMENTS
from .curves import UNRESOLVED, curves
from .designs import CHOICES, SIZES, designs, key, rules
from .formulas import diagram, formulas
from .looks import look

FILE = Path(__file__).with_name("grid.json")


def of_design(arch: Architecture) -> dict[str, Any]:
    """A design's curves, or "refused" with the reason why the theory has none."""
    try:
        return curves(arch)
    except AssumptionError as error:
        return {"refused": str(error)}


def of_placement(placement: str) -> dict[str, Any]:
    """Look, diagram under its own rule, formulas by rule and curves by design of one placement."""
    return {
        **look(placement),
        "rules": rules(placement),
        "diagram": diagram(placement, rules(placement)[0]),
        "formulas": {rule: formulas(placement, rule) for rule in rules(placement)},
        "curves": {key(arch): of_design(arch) for arch in designs(placement)},
    }


def write(path: Path = FILE, processes: int | None = None) -> Path:
    """Compute the grid, a placement at a time on every core, and write it: a line for each placement."""
    with ProcessPoolExecutor(processes) as pool:
        found = tqdm(pool.map(of_placement, PLACEMENTS), total=len(PLACEMENTS), desc="explorer")
        lines = [f"{to_json(name)}: {to_json(one)}" for name, one in zip(PLACEMENTS, found, strict=True)]
    head = to_json({"choices": CHOICES, "sizes": SIZES, "unresolved": UNRESOLVED})
    return write_file(path, head[:-1] + ', "placements": {\n' + ",\n".join(lines) + "\n}}\n")


if __name__ == "__main__":
    write(processes=int(sys.argv[1]) if sys.argv[1:] else None)
