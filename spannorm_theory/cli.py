"""The ``spannorm`` command: list, derive, predict, simulate, verify, claims, report, bench.

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

if TYPE_CHECKING:
    import pandas as pd

    from .architecture import Architecture

#: architecture fields as flags: name, type, help (a test holds them against the dataclass)
FIELDS: tuple[tuple[str, type, str], ...] = (
    ("depth", int, "blocks of one attention and one feed-forward sublayer"),
    ("width", int, "coordinates of a stream"),
    ("heads", int, "attention heads"),
    ("tokens", int, "sequence length"),
    ("activation", str, "relu, gelu, silu, reglu, geglu, swiglu or a registered one"),
    ("ffn_ratio", float, "hidden width of the feed-forward branch over width"),
    ("mask", str, "none or causal"),
    ("norm", str, "rms or layer"),
    ("qk_norm", bool, "normalise queries and keys over each head"),
    ("qkv_norm", bool, "normalise queries, keys and values over each head"),
    ("qk_norm_over", str, "head, or width (those norms run over all heads)"),
    ("kv_heads", int, "heads of keys and values, shared by groups of query heads"),
    ("positions", str, "none, or rope (rotary embedding of queries and keys)"),
    ("window", int, "tokens that a token sees under a causal mask, itself included"),
    ("logit_scale", str, "sqrt or linear: what of the head width logits are divided by"),
    ("dropout", float, "rate of dropout on branch outputs"),
    ("attention_dropout", float, "rate of dropout on attention weights"),
    ("init", str, "fan-in, unit-branch, xavier, or a standard deviation"),
    ("logit_variance", float, "variance of the attention logits for unit input"),
    ("inputs", str, "gaussian, or zipf (token ids through an embedding)"),
    ("input_variance", float, "second moment of the input (or embedding) per coordinate"),
    ("input_cosine", float, "cosine between gaussian input tokens"),
    ("position_variance", float, "second moment of learned positions of a zipf input"),
    ("loss", str, "probe, mean, last or cross-entropy"),
    ("vocabulary", int, "types of zipf inputs and of cross-entropy"),
    ("experts", int, "feed-forward experts; 1 is a dense branch"),
    ("top_k", int, "experts that a token is sent to"),
    ("shared_experts", int, "experts that every token is sent to beside them"),
    ("gates", str, "renormalised (over the chosen experts) or softmax (over all)"),
)


def _architecture_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("placement", help="a norm placement (see: spannorm list)")
    parser.add_argument("--scaling", default="unit", help="a scaling rule (default: unit)")
    group = parser.add_argument_group("architecture")
    for name, kind, text in FIELDS:
        flag = "--" + name.replace("_", "-")
        if kind is bool:
            group.add_argument(flag, action="store_true", help=text)
        else:
            group.add_argument(flag, type=kind, metavar=kind.__name__.upper(), help=text)


def _run_flags(parser: argparse.ArgumentParser, networks: int) -> None:
    group = parser.add_argument_group("Monte Carlo")
    group.add_argument(
        "--networks", type=int, default=networks, help=f"independent networks (default: {networks})"
    )
    group.add_argument("--seed", type=int, default=0)
    group.add_argument("--device", default="auto", help="auto, cpu or cuda")
    group.add_argument("--engine", default="auto", help="auto, explicit or implicit")
    group.add_argument("--quiet", action="store_true", help="no progress bar")


def _bench_flags(bench: argparse.ArgumentParser) -> None:
    study = bench.add_mutually_exclusive_group()
    study.add_argument("--precision", action="store_true", help="float32 and bfloat16 against float64")
    study.add_argument("--accuracy", action="store_true", help="both theories against Monte Carlo")
    bench.add_argument("--quick", action="store_true", help="small sizes that take seconds")
    bench.add_argument("--placements", nargs="+", help="speed takes the first (default: span-norm)")
    bench.add_argument("--scalings", nargs="+", help="speed takes the first (default: depth-scaled-init)")
    bench.add_argument("--mask", nargs="+", default=["none"], help="none, causal or both (default: none)")
    bench.add_argument("--widths", nargs="+", type=int, help="of speed, and of the accuracy's width sweep")
    for flag in ("--width", "--heads", "--tokens", "--depth", "--networks"):
        bench.add_argument(flag, type=int, help="default: depends on the study")
    bench.add_argument("--repeats", type=int, default=3, help="of speed (default: 3)")
    bench.add_argument("--seed", type=int, default=0)
    bench.add_argument("--out", help="folder for the figure of speed, PDF and PNG")
    bench.add_argument("--quiet", action="store_true", help="no progress lines")


def parser() -> argparse.ArgumentParser:
    """The argument parser, without any import of the library's heavy parts."""
    top = argparse.ArgumentParser(
        prog="spannorm",
        description="Signal and gradient in deep transformers: derived, and verified by Monte Carlo.",
    )
    top.add_argument("--version", action="store_true", help="print the version and exit")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        if name != "report":
            sub.add_argument("--json", action="store_true", help="machine-readable output")
        return sub

    command("list", "Registered placements, scaling rules and activations, with sources.")
    derive = command("derive", "Recursion, closed forms and large-depth laws of a placement.")
    derive.add_argument("placement", help="a norm placement (see: spannorm list)")
    derive.add_argument("--scaling", default="unit", help="a scaling rule (default: unit)")
    derive.add_argument("--activation", help="fill in the feed-forward gains of this activation")
    derive.add_argument("--latex", action="store_true", help="print LaTeX")
    _architecture_flags(command("predict", "Per-layer predictions of the theory."))
    simulate = command("simulate", "Per-layer Monte Carlo estimates with standard errors.")
    _architecture_flags(simulate)
    _run_flags(simulate, networks=64)
    verify = command("verify", "Theory against Monte Carlo, with a verdict (exit status 1 if it fails).")
    _architecture_flags(verify)
    _run_flags(verify, networks=64)
    claims = command("claims", "Published claims, decided and checked (exit status 1 if a verdict changed).")
    claims.add_argument("ids", nargs="*", metavar="ID", help="only these claims (default: the quick set)")
    claims.add_argument("--full", action="store_true", help="all claims")
    claims.add_argument("--evidence", action="store_true", help="print theory and checks of each claim")
    claims.add_argument("--out", help="JSON file to write")
    claims.add_argument("--html", help="page to write")
    claims.add_argument("--file", help="another file of claims (default: papers/claims.toml)")
    claims.add_argument("--device", default="auto", help="auto, cpu or cuda")
    claims.add_argument("--quiet", action="store_true", help="no progress bar")
    report = command("report", "Derive, verify and draw the standard comparison; writes one folder.")
    report.add_argument("--out", default="report", help="folder to write (default: report)")
    report.add_argument("--placements", nargs="+", help="default: the eight standard ones")
    report.add_argument("--scalings", nargs="+", default=["unit", "depth-scaled-init"])
    for flag, default in (
        ("--depth", 48),
        ("--width", 256),
        ("--heads", 8),
        ("--tokens", 64),
        ("--networks", None),
    ):
        report.add_argument(flag, type=int, default=default)
    report.add_argument("--seed", type=int, default=0)
    report.add_argument("--quiet", action="store_true", help="no progress bar")
    _bench_flags(
        command("bench", "How fast the engines are; or what precision costs; or how accurate theory is.")
    )
    return top


def _architecture(args: argparse.Namespace) -> Architecture:
    from .architecture import Architecture

    values: dict[str, Any] = {"placement": args.placement, "scaling": args.scaling}
    for name, kind, _ in FIELDS:
        value = getattr(args, name)
        if value is not None and not (kind is bool and value is False):
            values[name] = value
    if "init" in values:
        with suppress(ValueError):  # a named initialisation
            values["init"] = float(values["init"])
    return Architecture(**values)


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
        index="name", columns="layer", values="value"
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
    from .catalogue import activations, placements, scalings

    kinds: dict[str, Any] = {
        "placements": placements(),
        "scaling rules": scalings(),
        "activations": activations(),
    }
    if args.json:
        fields = ("name", "title", "year", "source")
        rows = {
            kind: [{f: getattr(e, f) for f in fields if hasattr(e, f)} for e in entries.values()]
            for kind, entries in kinds.items()
        }
        print(json.dumps(rows, indent=1))
        return 0
    for kind, entries in kinds.items():
        print(f"{kind}:")
        for e in entries.values():
            year = getattr(e, "year", None)
            print(f"  {e.name:26s} {e.title:34s} {year or '':<5} {e.source}")
            for option, default in getattr(e, "options", {}).items():
                print(f"  {'':26s}   option {option}={default}")
    return 0


def _derive(args: argparse.Namespace) -> int:
    from .theory.recursion import derive

    recursion = derive(args.placement, args.scaling, activation=args.activation)
    if args.json:
        print(json.dumps(recursion.to_dict(), indent=1))
    else:
        print(recursion.latex() if args.latex else recursion.text())
    return 0


def _predict(args: argparse.Namespace) -> int:
    from .theory.predict import predict

    arch = _architecture(args)
    table = predict(arch)
    if not args.json:
        print(f"{arch}: {table['theory'].iloc[0]} theory")
    _print_table(table, args.json)
    return 0


def _simulate(args: argparse.Namespace) -> int:
    arch = _architecture(args)
    from .montecarlo.ensemble import simulate

    ensemble = simulate(arch, **_run_options(args))
    if not args.json:
        print(
            f"{arch}: means over {ensemble.networks} networks ({ensemble.engine} engine, {ensemble.device})"
        )
    _print_table(ensemble.table, args.json)
    return 0


def _verify(args: argparse.Namespace) -> int:
    arch = _architecture(args)
    from .verification import verify

    result = verify(arch, **_run_options(args))
    if args.json:
        print(result.table.to_json(orient="records"))
    else:
        print(result.summary())
    return 0 if result.passed else 1


def _report(args: argparse.Namespace) -> int:
    from .report import write_report

    options: dict[str, Any] = {} if args.networks is None else {"networks": args.networks}
    path = write_report(
        args.out,
        placements=args.placements,
        scalings=args.scalings,
        depth=args.depth,
        width=args.width,
        heads=args.heads,
        tokens=args.tokens,
        seed=args.seed,
        progress=not args.quiet,
        **options,
    )
    verdicts = json.loads((path / "report.json").read_text())["verdicts"]
    failed = [v for v in verdicts if not v["passed"]]
    for verdict in failed:
        print(f"FAIL {verdict['architecture']}")
    print(f"{path / 'index.html'}: {len(verdicts) - len(failed)} of {len(verdicts)} verified")
    return 1 if failed else 0


def _claims(args: argparse.Namespace) -> int:
    from .claimed.command import run_claims

    return run_claims(args)


def _bench(args: argparse.Namespace) -> int:
    from .bench.command import run_bench

    return run_bench(args)


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "list": _list,
    "derive": _derive,
    "predict": _predict,
    "simulate": _simulate,
    "verify": _verify,
    "claims": _claims,
    "report": _report,
    "bench": _bench,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    top = parser()
    args = top.parse_args(argv)
    if args.version:
        from . import __version__

        print(__version__)
        return 0
    if args.command is None:
        top.print_help()
        return 2
    from .errors import SpannormError

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
