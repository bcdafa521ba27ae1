"""``spannorm predict``, ``expected``, ``simulate`` and ``verify``: one architecture, layer by layer."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .ends import require_encodable
from .flags import Commands, architecture, architecture_flags

if TYPE_CHECKING:
    import pandas as pd

    from ..verification.outcome import Verification


PLUS_MINUS = "±"


def add(commands: Commands) -> None:
    """Add the four commands to the parser."""
    predict = commands.add("predict", "Per-layer predictions of the theory.", _predict)
    architecture_flags(predict)
    text = "The values of a training monitor at step 0, as JSON to draw as reference lines."
    expected = commands.add("expected", text, _expected, json=False)
    architecture_flags(expected)
    text = "Per-layer Monte Carlo estimates with standard errors."
    simulate = commands.add("simulate", text, _simulate)
    text = "Theory against Monte Carlo, with a verdict (exit status 1 if it fails)."
    verify = commands.add("verify", text, _verify)
    for parser in (simulate, verify):
        architecture_flags(parser)
        _run_flags(parser)
    for parser in (predict, simulate):
        _position_flags(parser)
    for parser in (predict, expected, verify):
        parser.add_argument(
            "--theory",
            default="auto",
            help="auto, pair (tokens alike), positions (tokens unlike, at any length) or sampled (few)",
        )


def _run_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("Monte Carlo")
    group.add_argument("--networks", type=int, default=64, help="independent networks (default: 64)")
    group.add_argument("--seed", type=int, default=0)
    group.add_argument("--device", default="auto", help="auto, cpu or cuda")
    group.add_argument("--engine", default="auto", help="auto, explicit or implicit")
    group.add_argument("--quiet", action="store_true", help="no progress bar")


def _position_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("table")
    group.add_argument("--by", help="position: rows for single tokens (default: averages over tokens)")
    group.add_argument("--at", metavar="LIST", help="positions to show, as 1,2,64 (default: enough for all)")


def _position_options(args: argparse.Namespace) -> dict[str, Any]:
    """What the flags of :func:`_position_flags` say, for ``predict`` or ``simulate``."""
    if args.at is None:
        return {"by": args.by}
    words = args.at.split(",")
    numbers = [int(w) if w.strip().isdecimal() and len(w) < 20 else w for w in words]
    return {"by": args.by, "positions": numbers}


def _run_options(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "networks": args.networks,
        "seed": args.seed,
        "device": args.device,
        "engine": args.engine,
        "progress": False if args.quiet else None,
    }


def _predict(args: argparse.Namespace) -> int:
    from ..prediction.predict import predict

    arch = architecture(args)
    table = predict(arch, args.theory, **_position_options(args))
    if args.json:
        print_json(table)
    else:
        print(f"{arch}: {table['theory'].iloc[0]} theory")
        print_table(with_plain_errors(table))
    say_left_out(table.attrs["left_out"])
    return 0


def say_left_out(lines: Iterable[str]) -> None:
    """Say on stderr why rows have no number, a line for each reason."""
    sys.stdout.flush()  # they come behind the table where both are one terminal
    for line in lines:
        print(f"not predicted: {line}", file=sys.stderr)


def with_plain_errors(table: pd.DataFrame) -> pd.DataFrame:
    """A theory's table whose standard errors, of logarithms for squared norms, are those of the values."""
    from ..base.quantities import QUANTITIES

    if "se" not in table:
        return table
    logarithmic = table["quantity"].map(lambda name: QUANTITIES[name].logarithmic)
    return table.assign(se=table["se"].where(~logarithmic, other=table["se"] * table["value"]))


def _expected(args: argparse.Namespace) -> int:
    from ..base.jsontext import to_json
    from ..prediction.expected import expected

    print(to_json(expected(architecture(args), args.theory), indent=1))
    return 0


def _simulate(args: argparse.Namespace) -> int:
    if not args.json:
        require_encodable(PLUS_MINUS)
    arch = architecture(args)
    from ..montecarlo.ensemble import simulate

    ensemble = simulate(arch, **_run_options(args), **_position_options(args))
    if args.json:
        return print_json(ensemble.table)
    print(f"{arch}: means over {ensemble.networks} networks ({ensemble.engine} engine, {ensemble.device})")
    print_table(ensemble.table)
    return 0


def _verify(args: argparse.Namespace) -> int:
    arch = architecture(args)
    from ..verification.verification import verify

    return print_verification(verify(arch, theory=args.theory, **_run_options(args)), args.json)


def print_verification(result: Verification, json: bool) -> int:
    """Print a verification; exit status 0 where it passed, else 1."""
    if json:
        print_json(result.table)
        say_left_out(result.left_out)
        if not result.passed:  # rows alone do not say why
            print(f"spannorm: {result.outcome()}", file=sys.stderr)
    else:
        print(result.summary())
    return 0 if result.passed else 1


def print_json(table: pd.DataFrame) -> int:
    """Print a table as strict JSON; exit status 0."""
    from ..base.jsontext import to_json

    print(to_json(table))
    return 0


def print_table(table: pd.DataFrame) -> None:
    """A row for each quantity, stream and, in a table by position, token, over nine layers, with standard
    errors where there are any."""
    errors: list[float] = table["se"].tolist() if "se" in table else [0.0] * len(table)
    names = table["quantity"] + "[" + table["stream"] + "]"
    if "position" in table:
        names += " at " + table["position"].astype(str)
    shown = table[["layer"]].assign(
        name=names,
        value=[_number(value, se) for value, se in zip(table["value"].tolist(), errors, strict=True)],
    )
    layers = sorted(set(shown["layer"]))
    keep = sorted({layers[round(i * (len(layers) - 1) / 8)] for i in range(9)})
    wide = shown.pivot_table("value", "name", "layer", aggfunc="first").reindex(
        list(dict.fromkeys(shown["name"]))
    )
    print(wide[keep].rename_axis(index=None, columns="layer").to_string(na_rep="-"))


def _number(value: float, se: float) -> str:
    """Four digits, and a standard error where there is one."""
    if value != value:  # NaN: not predicted
        return "-"
    return f"{value:.4g} {PLUS_MINUS} {se:.1g}" if se > 0 else f"{value:.4g}"
