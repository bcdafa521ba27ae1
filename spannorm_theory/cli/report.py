"""``spannorm report``, ``figures`` and ``explorer``: the folders that are written."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from .flags import Commands, field_flags, fields, like_scaling
from .given import require_read


def add(commands: Commands) -> None:
    """Add the three commands to the parser."""
    text = "Derive, verify and draw the standard comparison; writes one folder."
    report = commands.add("report", text, _report, json=False)
    report.add_argument("--out", default="report", help="folder to write (default: report)")
    report.add_argument(
        "--full", action="store_true", help="simulate the checks of all claims, too, and add phase diagrams"
    )
    _set_flags(report)
    text = "The standard set of figures for a paper, each with its recipe."
    figures = commands.add("figures", text, _figures)
    figures.add_argument(
        "name", nargs="?", help="a kind of figure, as comparison or block, or one of the set (default: all)"
    )
    figures.add_argument("placement", nargs="*", help="what it shows, as --placements says for the set")
    figures.add_argument(
        "--from",
        dest="recipe",
        metavar="FILE.json",
        help="make one figure again; FILE.py:NAME behind it where a file of its placements has moved",
    )
    figures.add_argument("--out", help="folder to write (default: figures, or that of FILE.json)")
    figures.add_argument("--style", default="icml", help="neurips, icml, iclr, tmlr, talk or house")
    figures.add_argument(
        "--longest", type=float, help="seconds that networks may take, by the estimate (default: 3600)"
    )
    _set_flags(figures)
    text = "Curves of every placement to compare in a browser; writes one folder."
    explorer = commands.add("explorer", text, _explorer, json=False)
    explorer.add_argument("--out", default="explorer", help="folder to write (default: explorer)")
    explorer.add_argument(
        "--runtime", metavar="URL", help="where the page loads Pyodide from (default: its public address)"
    )
    explorer.add_argument(
        "--documentation", metavar="URL/", default="", help="folder of the site that the page leads to"
    )


def _set_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--placements", nargs="+", help="default: of the eight standard ones all that can")
    parser.add_argument("--scalings", nargs="+", help="default: unit, or that of --like; depth-scaled-init")
    parser.add_argument("--networks", type=int, help="random networks of each architecture (default: 40)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    field_flags(parser)


def _set_options(args: argparse.Namespace) -> dict[str, Any]:
    """Arguments of ``write_report`` and ``write_figures``; sizes have their defaults there."""
    options = {"placements": args.placements, "seed": args.seed, "progress": not args.quiet, **fields(args)}
    rules = args.scalings or list(dict.fromkeys([like_scaling(args), "depth-scaled-init"]))
    if args.networks is not None:
        options["networks"] = args.networks
    return {**options, "scalings": rules}


def _report(args: argparse.Namespace) -> int:
    from ..report import write_report

    path = write_report(args.out, full=args.full, **_set_options(args))
    record = json.loads((path / "report.json").read_text())
    verdicts, changed = record["verdicts"], record["claims"]["changed"]
    failed = [v for v in verdicts if not v["passed"]]
    for verdict in failed:
        print(f"FAIL {verdict['architecture']}")
    for name, now in changed.items():
        print(f"FAIL claim {name}: now {now}")
    decided = f"{record['claims']['run'] - len(changed)} of {record['claims']['run']} claims as recorded"
    print(f"{path / 'index.html'}: {len(verdicts) - len(failed)} of {len(verdicts)} verified, {decided}")
    return 1 if failed or changed else 0


def _figures(args: argparse.Namespace) -> int:
    from ..base.errors import InputError
    from ..base.jsontext import to_json
    from ..report.figure_set import Recipe, files_of, remake, write_figures
    from .loading import OF_A_FILE, load_files, placement_of

    if args.placement and args.placements:
        raise InputError("figures takes placements behind the figure's name or with --placements, not both")
    if args.recipe is None:
        options = _set_options(args)
        options |= {"placements": args.placement or args.placements, "files": args.files}
        if args.longest is not None:
            options["longest"] = args.longest
        files = write_figures(args.out or "figures", style=args.style, names=args.name, **options)
    else:
        if args.name and not OF_A_FILE.fullmatch(args.name):
            raise InputError(f"figures --from does not read {args.name!r}: its recipe names the figure")
        require_read(args, "--from", ("recipe", "out", "name", "placement"))
        if args.name:
            placement_of(args.name)
        load_files(args.recipe, files_of(args.recipe))
        for change in Recipe.read(args.recipe).changes():
            print(f"spannorm: the figure was made with {change}", file=sys.stderr)
        files = remake(args.recipe, args.out, not args.quiet)
    print(to_json([str(path) for path in files]) if args.json else "\n".join(map(str, files)))
    return 0


def _explorer(args: argparse.Namespace) -> int:
    from ..explorer.write import RUNTIME, write_explorer

    runtime = args.runtime or RUNTIME
    print(write_explorer(args.out, runtime=runtime, documentation=args.documentation) / "index.html")
    return 0
