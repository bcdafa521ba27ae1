"""The ``spannorm`` command: list, derive, predict, simulate, verify, claims, report, atlas, ...

Exit status 0: good; 1: a check failed; 2: bad input, with one line on stderr. Heavy imports happen
inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .flags import FIELDS, parser

if TYPE_CHECKING:
    import pandas as pd

    from ..spec.architecture import Architecture


def _architecture(args: argparse.Namespace) -> Architecture:
    from ..spec.architecture import Architecture

    return Architecture(args.placement, args.scaling, **_fields(args))


def _fields(args: argparse.Namespace) -> dict[str, Any]:
    """The architecture fields that flags have set."""
    values: dict[str, Any] = {}
    for name, kind, _ in FIELDS:
        value = getattr(args, name)
        if value is not None and not (kind is bool and value is False):
            values[name] = value
    if "init" in values:
        with suppress(ValueError):  # a named initialisation
            values["init"] = float(values["init"])
    return values


def _run_options(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "networks": args.networks,
        "seed": args.seed,
        "device": args.device,
        "engine": args.engine,
        "progress": False if args.quiet else None,
    }


def _print_table(table: pd.DataFrame, as_json: bool) -> None:
    if as_json:
        print(table.to_json(orient="records"))
        return
    wide = table.assign(name=table["quantity"] + "[" + table["stream"] + "]").pivot_table(
        index="name", columns="layer", values="value", dropna=False
    )
    layers = wide.columns
    keep = sorted({layers[round(i * (len(layers) - 1) / 8)] for i in range(9)})
    order = list(dict.fromkeys(table["quantity"] + "[" + table["stream"] + "]"))
    print(
        wide.loc[order, keep]
        .rename_axis(index=None, columns="layer")
        .to_string(float_format=lambda x: f"{x:.4g}", na_rep="-")
    )


def _list(args: argparse.Namespace) -> int:
    from ..render.listing import as_text, listing

    print(json.dumps(listing(), indent=1) if args.json else as_text(listing()))
    return 0


def _derive(args: argparse.Namespace) -> int:
    from ..derivation.recursion import derive

    recursion = derive(args.placement, args.scaling, activation=args.activation)
    if args.json:
        print(json.dumps(recursion.to_dict(), indent=1))
    else:
        print(recursion.latex() if args.latex else recursion.text())
    return 0


def _predict(args: argparse.Namespace) -> int:
    from ..prediction.predict import predict

    arch = _architecture(args)
    table = predict(arch)
    if not args.json:
        print(f"{arch}: {table['theory'].iloc[0]} theory")
    _print_table(table, args.json)
    return 0


def _simulate(args: argparse.Namespace) -> int:
    arch = _architecture(args)
    from ..montecarlo.ensemble import simulate

    ensemble = simulate(arch, **_run_options(args))
    if not args.json:
        print(
            f"{arch}: means over {ensemble.networks} networks ({ensemble.engine} engine, {ensemble.device})"
        )
    _print_table(ensemble.table, args.json)
    return 0


def _verify(args: argparse.Namespace) -> int:
    arch = _architecture(args)
    from ..verification.verification import verify

    result = verify(arch, **_run_options(args))
    if args.json:
        print(result.table.to_json(orient="records"))
    else:
        print(result.summary())
    return 0 if result.passed else 1


def _set_options(args: argparse.Namespace) -> dict[str, Any]:
    names = ("placements", "scalings", "depth", "width", "heads", "tokens", "seed")
    options = {name: getattr(args, name) for name in names}
    if args.networks is not None:
        options["networks"] = args.networks
    return {**options, "progress": not args.quiet}


def _figures(args: argparse.Namespace) -> int:
    from ..report.figure_set import Recipe, remake, write_figures

    if args.recipe is None:
        files = write_figures(args.out or "figures", style=args.style, **_set_options(args))
    else:
        for change in Recipe.read(args.recipe).changes():
            print(f"spannorm: the figure was made with {change}", file=sys.stderr)
        files = remake(args.recipe, args.out)
    print(json.dumps([str(path) for path in files]) if args.json else "\n".join(map(str, files)))
    return 0


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


def _sweep(args: argparse.Namespace) -> int:
    from .sweep import run_sweep

    return run_sweep(args)


def _atlas(args: argparse.Namespace) -> int:
    from .atlas import run

    return run(args, _fields(args))


def _claims(args: argparse.Namespace) -> int:
    from .claims import run_claims

    return run_claims(args)


def _bench(args: argparse.Namespace) -> int:
    from .bench import run_bench

    return run_bench(args)


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "list": _list,
    "derive": _derive,
    "predict": _predict,
    "simulate": _simulate,
    "verify": _verify,
    "claims": _claims,
    "report": _report,
    "sweep": _sweep,
    "atlas": _atlas,
    "figures": _figures,
    "bench": _bench,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    top = parser()
    args = top.parse_args(argv)
    if args.version:
        from .._version import __version__

        print(__version__)
        return 0
    if args.command is None:
        top.print_help()
        return 2
    from ..base.errors import SpannormError

    try:
        return COMMANDS[args.command](args)
    except SpannormError as error:
        print(f"spannorm: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe went away; nothing is wrong
        return 0
    except KeyboardInterrupt:
        print("spannorm: interrupted", file=sys.stderr)
        return 130
