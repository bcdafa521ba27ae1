"""``spannorm audit``: a module of the user's own, read and measured."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .ends import require_encodable
from .flags import Commands, field_flags, fields
from .given import require_read
from .profiles import PLUS_MINUS, print_table

if TYPE_CHECKING:
    from ..auditing.identify import Identification
    from ..auditing.probe import Probe
    from ..auditing.read import Reading

#: the parts of an audit, in their order
PARTS = ("read", "probe", "identify")
#: flags that a part reads beside its own
COMMON = ("only", "tokens", "blocks", "seed")


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    text = "Read a torch module's initialisation, measure it, and say which placement it has."
    parser = commands.add("audit", text, _run)
    parser.add_argument(
        "build", metavar="FILE.py:NAME", help="a module, or a function of a seed that makes one"
    )
    parser.add_argument("--only", metavar="PART", help="read, probe or identify (default: all)")
    parser.add_argument("--blocks", metavar="PATH", help="of the list of blocks in the module")
    parser.add_argument("--networks", type=int, default=16, help="to measure (default: 16)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument("--placement", help="of the norms, where the module does not say it")
    field_flags(parser)


def _run(args: argparse.Namespace) -> int:
    from ..base import arguments
    from ..base.errors import InputError

    if args.only is not None:
        arguments.choice("part", args.only, PARTS)
    stated = {name: value for name, value in fields(args).items() if name != "tokens"}
    if args.placement is not None:
        stated["placement"] = args.placement
    if args.only == "read":
        require_read(args, "--only read", (*COMMON, *stated))
    if args.only == "probe":
        require_read(args, "--only probe", (*COMMON, "networks"))
    if not args.json:
        require_encodable("√" + PLUS_MINUS)
    build = loaded(args.build)
    reading = measured = found = None
    if args.only != "probe":
        reading = _reading(build, args, stated)
    if args.only != "read":
        measured = _measured(build, args)
    if reading is not None and measured is not None and measured.networks > 2:
        from ..auditing.identify import identified

        found = identified(reading, measured)
    elif args.only == "identify":
        raise InputError("identify needs at least 3 networks of a function of the seed; NAME is one module")
    _show(args, reading, measured, found)
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
    if measured is not None and args.only != "identify":
        print(measured)
        print_table(measured.table)
    if found is not None:
        print(f"placement: {found.words()}")


def loaded(text: str) -> Any:
    """The object ``NAME`` of a Python file, given as ``FILE.py:NAME``; NAME is ``build`` where it is left
    out.

    Raises:
        InputError: no such file or name, or a file that fails.
    """
    from importlib.util import module_from_spec, spec_from_file_location

    from ..base.callables import calling
    from ..base.errors import InputError, UnknownNameError

    file, _, name = text.rpartition(":") if ":" in text else (text, "", "")
    path = Path(file)
    if path.suffix != ".py" or not path.is_file():
        raise InputError(f"expected FILE.py:NAME of a file that exists, got {text!r}")
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    try:
        with calling(spec.loader.exec_module, str(path)):
            spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    known = {key: value for key, value in vars(module).items() if not key.startswith("_") and callable(value)}
    if (name or "build") not in known:
        raise UnknownNameError(f"name in {path.name}", name or "build", known)
    return known[name or "build"]
