"""``spannorm audit``: a module of the user's own, read and measured."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..auditing.probed import NOT_READ
from .ends import require_encodable
from .flags import Commands, field_flags, fields, like
from .given import require_read
from .loading import loaded
from .profiles import PLUS_MINUS, print_table
from .step import rates

if TYPE_CHECKING:
    from ..auditing.identify import Identification
    from ..auditing.probe import Probe
    from ..auditing.read import Reading
    from ..models.model import Model

#: the parts of an audit that can be had alone, in their order
PARTS = ("read", "probe", "identify")
#: flags that a part reads beside its own
COMMON = ("only", "tokens", "blocks", "seed")


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    text = "Check a torch module before it is trained: exit status 1 unless it is healthy."
    parser = commands.add("audit", text, _run)
    parser.add_argument(
        "build",
        metavar="FILE.py:NAME",
        help="a function of a seed that makes a module (for a part alone also a module), or config.json",
    )
    parser.add_argument("--only", metavar="PART", help="read, probe or identify (default: an audit)")
    parser.add_argument(
        "--expected",
        help="what it should be: a text form, a model's name or a configuration's path; or --like and flags",
    )
    parser.add_argument(
        "--step", metavar="NAME", help="check the first step of sgd, sign, adam, orthogonal or muon"
    )
    parser.add_argument(
        "--lr", metavar="RATE", help="of that step: a rate, or rates of matrices, as attn.query=1e-3"
    )
    parser.add_argument("--epsilon", type=float, help="of adam (default: 1e-8)")
    parser.add_argument(
        "--optimiser",
        metavar="FILE.py:NAME",
        help="a function of the module that makes its own torch optimiser, which then makes the step",
    )
    parser.add_argument("--html", metavar="FILE", help="write the audit as a page")
    parser.add_argument("--blocks", metavar="PATH", help="of the list of blocks in the module")
    parser.add_argument("--networks", type=int, default=32, help="to measure (default: 32)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument("--placement", help="of the norms, where the module does not say it")
    field_flags(parser, NOT_READ)


def _run(args: argparse.Namespace) -> int:
    from ..base import arguments

    if args.only is not None:
        arguments.choice("part", args.only, PARTS)
    if args.only is None and args.like is not None:
        return _audited(args, _expected_like(args), {})
    stated = {name: value for name, value in fields(args).items() if name != "tokens"}
    if args.placement is not None:
        stated["placement"] = args.placement
    if args.only == "read":
        require_read(args, "--only read", (*COMMON, *stated))
    if args.only == "probe":
        require_read(args, "--only probe", (*COMMON, "networks"))
    if args.only == "identify":
        require_read(args, "--only identify", (*COMMON, "networks", *stated))
    if args.only is None:
        return _audited(args, args.expected, stated)
    return _part(_build(args), args, stated)


def _build(args: argparse.Namespace) -> Any:
    if not args.json:
        require_encodable("√" + PLUS_MINUS)
    return loaded(args.build)


def _expected_like(args: argparse.Namespace) -> Model:
    """The model that a module should be, by --like and flags."""
    from ..base.errors import InputError

    if args.expected is not None:
        raise InputError("audit takes --expected or --like, not both; flags go over the fields of either")
    return like(args, {} if args.placement is None else {"placement": args.placement})


def _audited(args: argparse.Namespace, expected: Model | str | None, stated: dict[str, Any]) -> int:
    from ..auditing.audit import audit
    from ..auditing.audited import HEALTHY
    from ..base.files import require_file

    require_file(args.html)
    progress = False if args.quiet else None
    options = {"networks": args.networks, "expected": expected, "progress": progress, **_options(args)}
    if args.optimiser is not None:
        options["optimiser"] = loaded(args.optimiser)
    options |= {"step": args.step, "epsilon": args.epsilon, "lr": None if args.lr is None else rates(args.lr)}
    found = audit(_build(args), **options, **stated)
    if args.html is not None:
        found.write_html(args.html)
    if args.json:
        from ..base.jsontext import to_json

        print(to_json(found.to_dict()))
    else:
        print(found.summary())
    return 0 if found.verdict == HEALTHY else 1


def _part(build: Any, args: argparse.Namespace, stated: dict[str, Any]) -> int:
    from ..base.errors import InputError

    reading = _reading(build, args, stated) if args.only != "probe" else None
    measured = _measured(build, args) if args.only != "read" else None
    found = None
    if reading is not None and measured is not None:
        from ..auditing.identify import identified

        if measured.networks < 3:
            raise InputError("identify needs at least 3 networks of a function of the seed")
        found = identified(reading, measured)
    _show(args, reading if found is None else None, measured if found is None else None, found)
    return 0


def _options(args: argparse.Namespace) -> dict[str, Any]:
    tokens = {} if args.tokens is None else {"tokens": args.tokens}
    return {"blocks": args.blocks, "seed": args.seed, **tokens}


def _reading(build: Any, args: argparse.Namespace, stated: dict[str, Any]) -> Reading:
    from torch import nn

    from ..auditing.networks import built, require_buildable, seeds_of
    from ..auditing.read import read
    from ..base import arguments

    require_buildable(build)
    seed = seeds_of(arguments.seed(args.seed), 1)[0]
    model, inputs = (build, None) if isinstance(build, nn.Module) else built(build, seed)
    return read(model, inputs=inputs, **_options(args), **stated)


def _measured(build: Any, args: argparse.Namespace) -> Probe:
    from ..auditing.probe import probe

    return probe(build, networks=args.networks, progress=False if args.quiet else None, **_options(args))


def _show(
    args: argparse.Namespace,
    reading: Reading | None,
    measured: Probe | None,
    found: Identification | None,
) -> None:
    if args.json:
        from ..base.jsontext import to_json

        parts = {
            "read": None if reading is None else reading.to_dict(),
            "probe": None if measured is None else measured.table,
            "identify": None if found is None else {"words": found.words(), "table": found.table},
        }
        print(to_json({name: part for name, part in parts.items() if part is not None}))
        return
    if reading is not None:
        print(reading.text())
    if measured is not None:
        print(measured)
        print_table(measured.table)
    if found is not None:
        print(f"placement: {found.words()}")
