"""``spannorm atlas``: the laws of every placement under every rule."""

from __future__ import annotations

import argparse

from .flags import Commands, field_flags, fields
from .given import require_read


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    text = "The laws of every placement under every rule, checked (exit status 1 if one fails)."
    parser = commands.add("atlas", text, _run)
    parser.add_argument("--placements", nargs="+", help="default: all")
    parser.add_argument("--scalings", nargs="+", help="default: all that a placement can take")
    parser.add_argument("--out", help="folder for atlas.html, atlas.csv and atlas.tex")
    parser.add_argument(
        "--depths", nargs="+", type=int, help="stacks of the branch shares and cosines (default: 64 1024)"
    )
    parser.add_argument(
        "--networks",
        type=int,
        default=32,
        help="for each cell of the Monte Carlo sample (default: 16; 0: none)",
    )
    parser.add_argument("--sample", type=int, default=12, help="cells of that sample (default: 12)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    field_flags(parser)


def _run(args: argparse.Namespace) -> int:
    from ..atlases.build import DEPTHS, atlas
    from ..atlases.table import console
    from ..base.files import require_folder
    from ..base.jsontext import to_json

    if args.networks == 0:
        require_read(args, "--networks 0", args.given - {"sample", "seed"})
    require_folder(args.out)
    found = atlas(
        args.placements,
        args.scalings,
        depths=args.depths or DEPTHS,
        networks=args.networks,
        sample=args.sample,
        seed=args.seed,
        progress=not args.quiet,
        **fields(args),
    )
    if args.out:
        found.write(args.out)
    if args.json:
        print(to_json(found.table))
    else:
        print(console(found.cells, found.depths))
        print(found.summary())
        for cell in found.failures:
            details = "; ".join(f"{name}: {f.detail}" for name, f in cell.found.items() if f.status == "FAIL")
            print(f"FAIL {cell.arch}: {'; '.join(filter(None, (details, cell.monte_carlo, cell.problem)))}")
    return 0 if found.passed else 1
