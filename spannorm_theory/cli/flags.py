"""The flags of the ``spannorm`` command, without any of what the commands import."""

from __future__ import annotations

import argparse

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
    study.add_argument("--theory", action="store_true", help="what predict takes, by placement and rule")
    bench.add_argument("--quick", action="store_true", help="small sizes that take seconds")
    bench.add_argument("--placements", nargs="+", help="speed takes the first (default: span-norm)")
    bench.add_argument("--scalings", nargs="+", help="speed takes the first (default: depth-scaled-init)")
    bench.add_argument("--mask", nargs="+", default=["none"], help="none, causal or both (default: none)")
    bench.add_argument("--widths", nargs="+", type=int, help="of speed, and of the accuracy's width sweep")
    for flag in ("--width", "--heads", "--tokens", "--depth", "--networks"):
        bench.add_argument(flag, type=int, help="default: depends on the study")
    bench.add_argument("--repeats", type=int, default=3, help="of speed and of theory (default: 3)")
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
    sweep.add_argument(
        "--executor",
        default="pool",
        metavar="NAME",
        help="pool (processes of this machine), dask, submitit (Slurm) or mpi (default: pool)",
    )
    sweep.add_argument("--address", help="of a Dask scheduler (default: workers on this machine)")
    sweep.add_argument(
        "--job",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a parameter of Slurm jobs, as submitit calls it (timeout_min=60); may come several times",
    )
    sweep.add_argument("--bundle", type=int, help="cells of one submission (default: by the executor)")
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
    report.add_argument(
        "--full", action="store_true", help="simulate the checks of all claims, too, and add phase diagrams"
    )
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
