"""``spannorm list`` and ``spannorm derive``: what is registered, and what follows from it in symbols."""

from __future__ import annotations

import argparse

from .flags import PLACEMENT, Commands
from .given import require_read


def add(commands: Commands) -> None:
    """Add the two commands to the parser."""
    text = "Registered placements, scaling rules and activations, with sources."
    listed = commands.add("list", text, _list)
    listed.add_argument("--formulas", action="store_true", help="with blocks and factors below each line")
    text = "Recursion, closed forms and large-depth laws of a placement."
    derive = commands.add("derive", text, _derive)
    derive.add_argument("placement", help=PLACEMENT)
    derive.add_argument("--scaling", default="unit", help="a scaling rule (default: unit)")
    derive.add_argument("--activation", help="fill in the feed-forward gains of this activation")
    derive.add_argument("--latex", action="store_true", help="print LaTeX")


def _list(args: argparse.Namespace) -> int:
    from ..render.listing import as_text, listing

    if args.json:
        from ..base.jsontext import to_json  # loads pandas, which a table for people does not need

        require_read(args, "--json", ())
        print(to_json(listing(), indent=1))
    else:
        print(as_text(listing(args.formulas)))
    return 0


def _derive(args: argparse.Namespace) -> int:
    from ..base.jsontext import to_json
    from ..base.waiting import clock
    from ..render.recursion import derive

    if args.json:
        require_read(args, "--json", ("scaling", "activation"))
    with clock(f"derive {args.placement}"):
        recursion = derive(args.placement, args.scaling, activation=args.activation)
        if args.json:
            text = to_json(recursion.to_dict(), indent=1)
        else:
            text = recursion.latex() if args.latex else recursion.text()
    print(text)
    return 0
