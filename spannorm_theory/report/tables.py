"""The report's tables as CSV, and its record as JSON."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from .._version import __version__
from ..asymptotics.growth import Growth
from ..base.files import write_file
from ..base.formulas import COLLAPSE, EMBEDDING, IDENTITY, words
from ..literature import ClaimsReport
from ..placement_pages.cells import Cell

LIBRARIES = ("numpy", "scipy", "sympy", "pandas", "torch", "matplotlib")


def write_tables(cells: Sequence[Cell], folder: Path) -> None:
    """verification.csv (every layer and quantity), overview.csv (one row a case), laws.csv."""
    tables = [cell.table for cell in cells if not cell.table.empty]
    everything = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    write_file(folder / "verification.csv", everything.to_csv(index=False))
    overview = pd.DataFrame([_overview(cell) for cell in cells])
    write_file(folder / "overview.csv", overview.to_csv(index=False))
    laws = pd.DataFrame([row for cell in cells for row in _laws(cell)])
    write_file(folder / "laws.csv", laws.to_csv(index=False))


def _overview(cell: Cell) -> dict[str, Any]:
    laws = {name: str(law) for name, law in cell.laws.items() if isinstance(law, Growth)}
    variance = {name: text for name, text in laws.items() if name.startswith("q")}
    gains = {name: text for name, text in laws.items() if name.startswith(IDENTITY)}
    collapse = {name: text for name, text in laws.items() if name.startswith(COLLAPSE)}
    return {
        "placement": cell.arch.placement,
        "scaling": cell.arch.scaling,
        "variance_law": _listed(variance),
        "gradient_law": laws.get(EMBEDDING, ""),
        "collapse_law": laws.get(COLLAPSE, _listed(collapse)),
        "identity_gain_law": _listed(gains),
        "verdict": cell.verdict,
        "worst_z": cell.worst_z,
        "worst_gate": cell.worst_gate,
    }


def _listed(laws: dict[str, str]) -> str:
    return "; ".join(f"{words(name, 'L')}: {text}" for name, text in laws.items())


def _laws(cell: Cell) -> list[dict[str, Any]]:
    rows = []
    for name, law in cell.laws.items():
        known = isinstance(law, Growth)
        closed = cell.closed.found.get(name, "")
        rows.append(
            {
                "placement": cell.arch.placement,
                "scaling": cell.arch.scaling,
                "quantity": name,
                "closed_form": str(closed),
                "order": str(law.shape) if isinstance(law, Growth) else "",
                "constant": str(law.prefactor) if isinstance(law, Growth) else "",
                "no_law_because": "" if known else str(law),
            }
        )
    return rows


def record(cells: Sequence[Cell], networks: int, seed: int, decided: ClaimsReport) -> dict[str, Any]:
    """Versions, architectures, seeds, engines and verdicts: what made the report, and how it came out."""
    changed = {o.claim.id: o.verdict for o in decided.outcomes if o.changed}
    return {
        "versions": {
            "python": platform.python_version(),
            "spannorm_theory": __version__,
            **{name: version(name) for name in LIBRARIES},
        },
        "networks": networks,
        "seed": seed,
        "verdicts": [_verdict(cell) for cell in cells],
        "claims": {"run": len(decided.outcomes), "simulated": decided.simulated, "changed": changed},
    }


def _verdict(cell: Cell) -> dict[str, Any]:
    row: dict[str, Any] = {
        "architecture": str(cell.arch),
        "passed": cell.passed,
        "verdict": cell.verdict,
    }
    if cell.verification is None:
        return {**row, "reason": cell.problem}
    ensemble = cell.verification.ensemble
    return {
        **row,
        "worst_z": cell.worst_z,
        "worst_gate": cell.worst_gate,
        "rows": len(cell.table),
        "failed_rows": len(cell.verification.failures),
        "theory": cell.verification.theory,
        "networks": ensemble.networks,
        "engine": ensemble.engine,
        "device": ensemble.device,
        "dtype": ensemble.dtype,
    }
