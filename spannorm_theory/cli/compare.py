"""``spannorm compare``: which of several architectures, in numbers, in words and as a figure."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .ends import require_encodable
from .flags import Commands, field_flags, given_fields
from .profiles import PLUS_MINUS

if TYPE_CHECKING:
    from ..comparing import Comparison


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    text = (
        "Candidates side by side: gradient, collapse, loss at step 0 and laws, sorted, with a sentence each."
    )
    parser = commands.add("compare", text, _run)
    parser.add_argument(
        "candidates",
        nargs="+",
        metavar="CANDIDATE",
        help="PLACEMENT or PLACEMENT@RULE (default: that of --like), with fields of its own in quotes, as "
        "'pre-norm@gpt2 ffn_ratio=2'; FILE.py:NAME, a placement's function, is one, too",
    )
    parser.add_argument(
        "--sort",
        default="gradient",
        metavar="NAME",
        help="gradient, collapse, variance, branch_share, loss, global_gradient_norm, given, or a column "
        "(default: gradient)",
    )
    parser.add_argument("--networks", type=int, help="random networks of each candidate (default: none)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--theory", default="auto", help="auto, pair, positions or sampled")
    parser.add_argument("--no-laws", action="store_true", help="leave out laws, which take seconds each")
    parser.add_argument("--latex", action="store_true", help="print a table for a paper (booktabs)")
    parser.add_argument("--columns", metavar="LIST", help="of it, as candidate,loss (default: deciding ones)")
    parser.add_argument("--figure", metavar="FILE", help="write the figure as .pdf, .svg or .png")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    field_flags(parser)


def _record(found: Comparison, seed: int) -> dict[str, Any]:
    """What made a figure, for its metadata."""
    from ..report.figure_set.recipe import versions

    return {
        "networks": found.networks,
        "seed": seed,
        "versions": versions(),
        "architectures": [arch.to_dict() for arch in found.architectures],
    }


def _run(args: argparse.Namespace) -> int:
    from ..base.arguments import choice
    from ..base.errors import InputError
    from ..base.jsontext import to_json
    from ..comparing import compare
    from ..comparing.candidates import candidates
    from ..comparing.sorting import columns

    if args.figure and not args.figure.endswith((".pdf", ".svg", ".png")):
        raise InputError(f"figures are saved as .pdf, .svg or .png, got {args.figure!r}")
    if args.figure and not Path(args.figure).parent.is_dir():
        raise InputError(f"--figure needs a folder that exists, got {args.figure!r}; make the folder first")
    if args.columns and not args.latex:
        raise InputError("--columns are those of --latex; add it")
    shown = None if args.columns is None else args.columns.split(",")
    if args.json and args.latex:
        raise InputError("compare prints --json or --latex, not both")
    if args.networks and not args.json and not args.latex:
        require_encodable(PLUS_MINUS)
    options: dict[str, Any] = given_fields(args)
    if shown:
        archs = [one.arch for one in candidates(args.candidates, args.like, options)]
        known = columns(archs, not args.no_laws, bool(args.networks))
        for name in shown:
            choice("column", name, known)
    found = compare(
        args.candidates,
        like=args.like,
        sort_by=args.sort,
        networks=args.networks,
        seed=args.seed,
        theory=args.theory,
        laws=not args.no_laws,
        progress=False if args.quiet else None,
        **options,
    )
    if args.figure:
        from ..plot.canvas.paper import save

        save(found.figure(), args.figure, to_json(_record(found, args.seed), separators=(",", ":")))
    if args.json:
        rows = found.table.assign(sentence=found.sentences)
        print(to_json(rows))
    elif args.latex:
        print(found.latex(shown), end="")
    else:
        print(found.summary())
    return 0
