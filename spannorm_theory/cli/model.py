"""``spannorm model``: a published model or a configuration as an architecture, and what that leaves out."""

from __future__ import annotations

import argparse

from .flags import Commands
from .given import require_read


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    text = "A published model as an architecture, and what that leaves out; without a name, all of them."
    parser = commands.add("model", text, _run)
    parser.add_argument("name", nargs="?", help="a model, or the JSON file or folder of a configuration")
    parser.add_argument("--tokens", type=int, metavar="INT", help="sequence length (default: 64)")


def _run(args: argparse.Namespace) -> int:
    from ..base.jsontext import to_json
    from ..models.named import named
    from ..models.registry import published

    if args.name is not None:
        found = named(args.name, args.tokens)
        print(to_json(found.to_dict(), indent=1) if args.json else found.text())
        return 0
    require_read(args, "without a name", ())
    entries = published().values()
    if args.json:
        print(
            to_json([{"name": e.name, "year": e.year, "grade": e.grade, "source": e.source} for e in entries])
        )
    else:
        print("\n".join(f"{e.name:18s} {e.year}  {e.grade:8s}  {e.source}" for e in entries))
    return 0
