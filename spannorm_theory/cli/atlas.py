"""``spannorm atlas``."""

from __future__ import annotations

import argparse
from typing import Any

from ..atlases.build import DEPTHS, atlas
from ..atlases.table import console


def run(args: argparse.Namespace, fields: dict[str, Any]) -> int:
    """Build, print and write; exit status 1 if a law or a Monte Carlo comparison disagrees."""
    found = atlas(
        args.placements,
        args.scalings,
        depths=args.depths or DEPTHS,
        networks=args.networks,
        sample=args.sample,
        seed=args.seed,
        progress=not args.quiet,
        **fields,
    )
    if args.out:
        found.write(args.out)
    if args.json:
        print(found.table.to_json(orient="records"))
    else:
        print(console(found.cells, found.depths))
        print(found.summary())
        for cell in found.failures:
            details = "; ".join(f"{name}: {f.detail}" for name, f in cell.found.items() if f.status == "FAIL")
            print(f"FAIL {cell.arch}: {'; '.join(filter(None, (details, cell.monte_carlo, cell.problem)))}")
    return 0 if found.passed else 1
