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
    _field_flags(parser)


def _field_flags(parser: argparse.ArgumentParser) -> None:
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


def _atlas_flags(atlas: argparse.ArgumentParser) -> None:
    atlas.add_argument("--placements", nargs="+", help="default: all")
    atlas.add_argument("--scalings", nargs="+", help="default: all that a placement can take")
    atlas.add_argument("--out", help="folder for atlas.html, atlas.csv and atlas.tex")
    atlas.add_argument(
        "--depths", nargs="+", type=int, help="stacks of the branch shares and cosines (default: 64 1024)"
    )
    atlas.add_argument(
        "--networks",
        type=int,
        default=16,
        help="for each cell of the Monte Carlo sample (default: 16; 0: none)",
    )
    atlas.add_argument("--sample", type=int, default=12, help="cells of that sample (default: 12)")
    atlas.add_argument("--seed", type=int, default=0)
    atlas.add_argument("--quiet", action="store_true", help="no progress bar")
    _field_flags(atlas)


def _bench_flags(bench: argparse.ArgumentParser) -> None:
    study = bench.add_mutually_exclusive_group()
    study.add_argument("--precision", action="store_true", help="float32 and bfloat16 against float64")
    study.add_argument("--accuracy", action="store_true", help="both theories against Monte Carlo")
    study.add_argument("--sweep", action="store_true", help="what a sweep's cells, store and scheduler cost")
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


def _sweep_flags(sweep: argparse.ArgumentParser) -> None:
    sweep.add_argument("specification", nargs="?", metavar="SPEC.toml", help="what to measure")
    job = sweep.add_mutually_exclusive_group()
    job.add_argument("--preset", metavar="NAME", help="a phase diagram (an unknown NAME lists them)")
    job.add_argument("--status", action="store_true", help="say what is done, running and failed")
    job.add_argument("--export", metavar="FILE", help="write the store's table as .parquet or .csv")
    job.add_argument("--merge", metavar="STORE", help="take over the cells of another store")
    sweep.add_argument("--store", default="results", help="folder of the results (default: results)")
    sweep.add_argument("--workers", type=int, help="processes (default: one for each core or CUDA device)")
    sweep.add_argument("--networks", type=int, help="in place of the specification's")
    sweep.add_argument("--device", help="auto, cpu or cuda, in place of the specification's")
    sweep.add_argument("--retry-failed", action="store_true", help="try failed cells again")
    sweep.add_argument("--out", default="figures", help="folder for a preset's figure (default: figures)")
    sweep.add_argument("--quiet", action="store_true", help="no progress bar")


def _set_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--placements", nargs="+", help="default: the eight standard ones")
    parser.add_argument("--scalings", nargs="+", default=["unit", "depth-scaled-init"])
    for flag, default in (
        ("--depth", 48),
        ("--width", 256),
        ("--heads", 8),
        ("--tokens", 64),
        ("--networks", None),
    ):
        parser.add_argument(flag, type=int, default=default)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


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
    _set_flags(report)
    figures = command("figures", "The standard set of figures for a paper, each with its recipe.")
    figures.add_argument("--from", dest="recipe", metavar="FILE.json", help="make one figure again")
    figures.add_argument("--out", help="folder to write (default: figures, or that of FILE.json)")
    figures.add_argument("--style", default="icml", help="neurips, icml, iclr, tmlr, talk or house")
    _set_flags(figures)
    _sweep_flags(command("sweep", "Measure many architectures; what is finished is kept."))
    _atlas_flags(
        command(
            "atlas", "The laws of every placement under every rule, checked (exit status 1 if one fails)."
        )
    )
    _bench_flags(
        command("bench", "How fast the engines are; or what precision costs; or how accurate theory is.")
    )
    return top


def _architecture(args: argparse.Namespace) -> Architecture:
    from .architecture import Architecture

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
    from .listing import as_text, listing

    print(json.dumps(listing(), indent=1) if args.json else as_text(listing()))
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


def _set_options(args: argparse.Namespace) -> dict[str, Any]:
    names = ("placements", "scalings", "depth", "width", "heads", "tokens", "seed")
    options = {name: getattr(args, name) for name in names}
    if args.networks is not None:
        options["networks"] = args.networks
    return {**options, "progress": not args.quiet}


def _figures(args: argparse.Namespace) -> int:
    from .figures import Recipe, remake, write_figures

    if args.recipe is None:
        files = write_figures(args.out or "figures", style=args.style, **_set_options(args))
    else:
        for change in Recipe.read(args.recipe).changes():
            print(f"spannorm: the figure was made with {change}", file=sys.stderr)
        files = remake(args.recipe, args.out)
    print(json.dumps([str(path) for path in files]) if args.json else "\n".join(map(str, files)))
    return 0


def _report(args: argparse.Namespace) -> int:
    from .report import write_report

    path = write_report(args.out, **_set_options(args))
    verdicts = json.loads((path / "report.json").read_text())["verdicts"]
    failed = [v for v in verdicts if not v["passed"]]
    for verdict in failed:
        print(f"FAIL {verdict['architecture']}")
    print(f"{path / 'index.html'}: {len(verdicts) - len(failed)} of {len(verdicts)} verified")
    return 1 if failed else 0


def _sweep(args: argparse.Namespace) -> int:
    from .sweeps.command import run_sweep

    return run_sweep(args)


def _atlas(args: argparse.Namespace) -> int:
    from .atlases.command import run

    return run(args, _fields(args))


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
