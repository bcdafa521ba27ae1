"""The ``spannorm`` command: list, derive, predict, simulate, verify, step, compare, model, report, ...

Exit status 0: good; 1: a check failed; 2: bad input, or output that could not be written, with one line on
stderr; 130 and 143: interrupted or terminated.

Each file beside this one adds its commands with their flags. Heavy imports happen inside the commands, so
that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence

from . import atlas, audit, bench, claims, compare, formulas, model, profiles, report, step, sweep
from .ends import ended
from .flags import Commands, part_rule
from .loading import name_placements
from .parser import Parser, require_command

#: objects after which Python looks for garbage: imports make hundreds of thousands, and all of them stay
GARBAGE = 50_000

#: in the order of ``--help``
GROUPS = (formulas, profiles, step, compare, model, audit, claims, report, sweep, atlas, bench)


def parser() -> Parser:
    """The argument parser of all commands."""
    return _parser()[0]


def _parser() -> tuple[Parser, Commands]:
    top = Parser(
        prog="spannorm",
        description="Signal and gradient in deep transformers: derived, and verified by Monte Carlo.",
    )
    top.add_argument("--version", action="store_true", help="print the version and exit")
    commands = Commands(top)
    for group in GROUPS:
        group.add(commands)
    return top, commands


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status.

    Args:
        argv: the words after ``spannorm``; those of this process where none are given.
    """
    if argv is not None:
        return ended(lambda: _run(argv))
    gc.set_threshold(GARBAGE)
    status = ended(lambda: _run(sys.argv[1:]))
    gc.freeze()  # no search for garbage in what ends with the process
    return status


def _run(argv: Sequence[str]) -> int:
    top, commands = _parser()
    require_command(argv, commands.names)
    args, rest = top.parse_known_args(argv)
    if args.version:
        from .._version import __version__

        print(__version__)
        return 0
    if args.command is None:
        top.print_help()
        return 2
    _require_known(rest, args)
    name_placements(args)
    part_rule(args)
    return int(args.run(args))


def _require_known(rest: Sequence[str], args: argparse.Namespace) -> None:
    """Refuse arguments that a command does not know, naming the nearest flag."""
    if not rest:
        return
    from ..base.errors import InputError, UnknownNameError
    from ..spec.fields import OTHER_WORDS

    if not rest[0].startswith("--"):
        raise InputError(
            f"{args.command} takes no further argument {rest[0]!r}; see spannorm {args.command} --help"
        )
    others = {f"--{word}": f"--{name.replace('_', '-')}" for word, name in OTHER_WORDS.items()}
    raise UnknownNameError(f"flag of {args.command}", rest[0].partition("=")[0], args.flags, others)
