"""``spannorm bench``: the studies of speed and accuracy; tables as text, or everything as JSON."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .flags import Commands
from .given import require_read

if TYPE_CHECKING:
    import pandas as pd

#: sizes at which every study takes seconds
SMALL: dict[str, Any] = {"width": 64, "heads": 4, "tokens": 16, "depth": 4}
SMALL_NETWORKS = 8
SMALL_DRAWS = 16

_STACKS = ("placements", "scalings", "mask", "heads", "tokens", "depth")
_RUNS = ("networks", "seed")

#: the flags that each study reads beside --quick
READS: dict[str, tuple[str, ...]] = {
    "speed": ("placements", "scalings", "mask", "widths", "tokens", "depth", "repeats", "out"),
    "precision": (*_STACKS, "width", *_RUNS),
    "accuracy": (*_STACKS, "width", "widths", *_RUNS),
    "sweep": (),
    "theory": ("placements", "scalings", "width", "heads", "tokens", "depth", "repeats"),
    "power": ("placements", "scalings", "heads", "tokens", "depth", "widths", *_RUNS),
    "learning": ("placements", "scalings", "depth", "optimiser", "steps", "seed"),
}

Tables = dict[str, "pd.DataFrame"]


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    text = "How fast the engines are; or what precision costs; or how accurate theory is."
    parser = commands.add("bench", text, _run)
    study = parser.add_mutually_exclusive_group()
    study.add_argument("--precision", action="store_true", help="float32 and bfloat16 against float64")
    study.add_argument(
        "--accuracy", action="store_true", help="theories against Monte Carlo, and against each other"
    )
    study.add_argument("--sweep", action="store_true", help="what a sweep's cells, store and scheduler cost")
    study.add_argument("--theory", action="store_true", help="what predict takes, by placement and rule")
    study.add_argument(
        "--power", action="store_true", help="how wrong a theory must be for verify to reject it"
    )
    study.add_argument(
        "--learning",
        action="store_true",
        help="small stacks trained at a ladder of rates, and the first step",
    )
    parser.add_argument("--quick", action="store_true", help="small sizes that take seconds")
    parser.add_argument("--placements", nargs="+", help="speed takes the first (default: span-norm)")
    parser.add_argument("--scalings", nargs="+", help="speed takes the first (default: depth-scaled-init)")
    parser.add_argument("--mask", nargs="+", default=["none"], help="none, causal or both (default: none)")
    parser.add_argument("--widths", nargs="+", type=int, help="of speed, and of the accuracy's width sweep")
    for flag in ("--width", "--heads", "--tokens", "--depth", "--networks"):
        parser.add_argument(flag, type=int, help="default: depends on the study")
    parser.add_argument("--repeats", type=int, default=3, help="of speed and of theory (default: 3)")
    parser.add_argument("--optimiser", default="adam", help="of learning: adam or sign (default: adam)")
    parser.add_argument("--steps", type=int, help="of learning (default: 100)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="folder for the figure of speed, PDF and PNG")
    parser.add_argument("--quiet", action="store_true", help="no progress lines")


def _run(args: argparse.Namespace) -> int:
    from ..base.files import require_folder
    from ..base.interrupts import whole_results

    progress = _silent if args.quiet else _say
    named = {
        "accuracy": _accuracy,
        "precision": _precision,
        "sweep": _sweeps,
        "theory": _theory,
        "power": _power,
        "learning": _learning,
    }
    name = next((name for name in named if getattr(args, name)), "speed")
    require_read(args, "of speed" if name == "speed" else f"--{name}", {*READS[name], "quick", name})
    require_folder(args.out)
    study = named.get(name, _speed)
    with whole_results():
        tables = study(args, progress)
    if args.json:
        from ..base.jsontext import to_json

        print(to_json(tables))
    else:
        print("\n\n".join(_text(name, table) for name, table in tables.items()))
    if args.out and "speed" in tables:
        from ..bench.figure import write_figure

        for path in write_figure(tables["speed"], args.out):
            progress(f"wrote {path}")
    return 0


def _silent(line: str) -> None:
    pass


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _sizes(args: argparse.Namespace, standard: dict[str, Any]) -> dict[str, Any]:
    given = {name: getattr(args, name) for name in standard if getattr(args, name) is not None}
    return {**standard, **(SMALL if args.quick else {}), **given}


def _networks(args: argparse.Namespace, standard: int) -> int:
    if args.networks is not None:
        return int(args.networks)
    return SMALL_NETWORKS if args.quick else standard


def _speed(args: argparse.Namespace, progress: Callable[[str], object]) -> Tables:
    from ..bench import speed
    from ..spec.architecture import Architecture

    base = Architecture(
        (args.placements or ["span-norm"])[0], (args.scalings or ["depth-scaled-init"])[0], mask=args.mask[0]
    )
    sizes: Sequence[tuple[int, int]] = speed.QUICK if args.quick else speed.SIZES
    if args.widths or args.tokens:
        sizes = [(width, args.tokens or 64) for width in args.widths or [1024]]
    depth = args.depth or (speed.QUICK_DEPTH if args.quick else speed.DEPTH)
    return {"speed": speed.speed(speed.grid([base], sizes, depth), args.repeats, progress)}


def _precision(args: argparse.Namespace, progress: Callable[[str], object]) -> Tables:
    from ..bench import accuracy, precision

    archs = accuracy.cases(
        args.placements or precision.PLACEMENTS,
        args.scalings or precision.SCALINGS,
        args.mask,
        **_sizes(args, precision.SIZES),
    )
    networks = _networks(args, precision.NETWORKS)
    return {"precision": precision.precision(archs, networks, args.seed, progress)}


def _accuracy(args: argparse.Namespace, progress: Callable[[str], object]) -> Tables:
    from ..bench import accuracy, regimes, resolutions
    from ..spec.architecture import Architecture

    placements = args.placements or accuracy.PLACEMENTS
    scalings = args.scalings or accuracy.SCALINGS
    sizes = _sizes(args, accuracy.SIZES)
    archs = accuracy.cases(placements, scalings, args.mask, **sizes)
    networks = _networks(args, accuracy.NETWORKS)
    hard = {**SMALL, "tokens": 8} if args.quick else {}
    widths = args.widths or ((32, 64) if args.quick else regimes.WIDTHS)
    shape = {**SMALL, "tokens": 8} if args.quick else regimes.SWEPT
    swept = [Architecture(name, **shape) for name in regimes.SWEPT_PLACEMENTS]
    tables = {
        "hard regime": regimes.hard_regime(_networks(args, regimes.HARD_NETWORKS), args.seed, hard, progress),
        "width sweep": regimes.width_sweep(swept, widths, networks, args.seed, progress),
        "accuracy": accuracy.accuracy(archs, networks, args.seed, progress),
    }
    if "causal" in args.mask:
        draws = SMALL_DRAWS if args.quick else resolutions.DRAWS
        tables["resolutions"] = resolutions.resolutions(archs, draws, args.seed, progress)
    return tables


def _sweeps(args: argparse.Namespace, progress: Callable[[str], object]) -> Tables:
    from ..bench import sweeps

    return sweeps.tables(args.quick, progress)


def _theory(args: argparse.Namespace, progress: Callable[[str], object]) -> Tables:
    from ..atlases.build import architectures
    from ..bench import accuracy, theory

    given = {name: getattr(args, name) for name in ("width", "heads", "tokens") if getattr(args, name)}
    sizes = {"depth": args.depth or (100 if args.quick else theory.DEPTH), **given}
    placements, scalings = args.placements, args.scalings
    if args.quick:
        placements, scalings = placements or accuracy.PLACEMENTS, scalings or accuracy.SCALINGS
    archs = architectures(placements, scalings, **sizes)
    return {
        "theory": theory.theory_speed(archs, args.repeats, progress),
        "causal": theory.causal_speed(args.quick, progress),
    }


def _power(args: argparse.Namespace, progress: Callable[[str], object]) -> Tables:
    from ..bench import power
    from ..spec.architecture import Architecture

    sizes = {name: getattr(args, name) or power.SIZES[name] for name in power.SIZES}
    widths = args.widths or ((128, 256) if args.quick else power.WIDTHS)
    depths = [args.depth] if args.depth else ((4,) if args.quick else power.DEPTHS)
    networks = [args.networks] if args.networks else ((32,) if args.quick else power.NETWORKS)
    archs = [
        Architecture(placement, scaling, depth=depth, width=width, **sizes)
        for placement in args.placements or ["post-norm", "span-norm"]
        for scaling in args.scalings or ["unit", "depth-scaled-init"]
        for depth in depths
        for width in widths
    ]
    return {"power": power.power(archs, networks, args.seed, progress)}


def _learning(args: argparse.Namespace, progress: Callable[[str], object]) -> Tables:
    from ..base import arguments
    from ..bench import learning

    optimiser = arguments.choice("optimiser", args.optimiser, learning.RATES)
    depths = [args.depth] if args.depth else ((1, 2) if args.quick else learning.DEPTHS)
    quick: dict[str, Any] = {"sizes": "width=32 tokens=8", "steps": 25} if args.quick else {}
    given = {} if args.steps is None else {"steps": arguments.whole("steps", args.steps, 1)}
    placements = args.placements or (learning.PLACEMENTS[:2] if args.quick else learning.PLACEMENTS)
    scalings = args.scalings or (learning.SCALINGS[:1] if args.quick else learning.SCALINGS)
    work = learning.jobs(placements, scalings, depths, optimiser, seed=args.seed, **{**quick, **given})
    return learning.learning(list(work), progress)


def _text(name: str, table: pd.DataFrame) -> str:
    if name == "speed":
        table = _readable_speed(table)
    if name == "precision":
        from ..bench.precision import summary

        table = summary(table)
    text: str = table.to_string(index=False, na_rep="-", float_format=lambda x: f"{x:.4g}")
    return f"{NOTES[name]}\n{text}"


def _readable_speed(table: pd.DataFrame) -> pd.DataFrame:
    from ..bench.speed import CONTESTANTS

    shown = table[["width", "tokens", "depth", "blocks"]].copy()
    for name in CONTESTANTS:
        middle, least, most = (table[name + end] for end in ("", "_min", "_max"))
        shown[f"{name} s"] = [
            f"{m:.3g} ({a:.3g}-{b:.3g})" for m, a, b in zip(middle, least, most, strict=True)
        ]
    for name in CONTESTANTS:
        shown[f"{name} cpu s"] = table[f"{name}_cpu"]
    for name in CONTESTANTS:
        shown[f"{name} MiB"] = table[f"{name}_mib"].round().astype(int)
    ratios = {
        "a/c": "plain_over_implicit",
        "a'/c": "tuned_over_implicit",
        "b/c": "explicit_over_implicit",
        "c/d": "implicit_over_floor",
        "memory a/c": "memory_ratio",
    }
    return shown.assign(**{short: table[column] for short, column in ratios.items()})


NOTES = {
    "sweep cost": "Processor seconds of one cell of 16 networks, and the exponent of its growth.",
    "sweep store": "Processor seconds for one cell: what the store adds to a worker (and its median "
    "wall time), check on resuming, status, export; bytes of a file.",
    "sweep pool": "Empty cells through the default pool: wall time, and processor seconds of all processes.",
    "sweep work": "A cell on one core here, measured; what one network asks of a device, counted; and a cell "
    "on an H200, modelled from that and not measured.",
    "sweep scale": "Simulated, not measured: hours of all cells, the largest of what limits them, and what "
    "that alone would take.",
    "theory": "Milliseconds of one predict after the first, least of the repeats: median and slowest over "
    "rules, the slowest's rule, and the largest multiple of pre-norm's in the same moments.",
    "causal": "Processor seconds of one predict of causal pre-norm stacks of width 4096: with positions as a "
    "coordinate, the first call and a later one, and with sampled heads.",
    "power": "The smallest error that verify rejects: of the best-seen layer, and of the mean over layers; "
    "relative for squared norms, else absolute.",
    "learning": "Loss over the last steps of the best rate, nats a character; the largest rates that learn "
    "context and that end below the start; and before training: the coherent share of the first step, the "
    "rate at which it moves the output by 1, and the largest ratio of squared gradients of two layers.",
    "correlations": "Rank correlations over designs of what is known before training with what it did, and "
    "95% of samples of designs.",
    "exponents": "Powers of the depth with which rates fall: in law, of the first step as measured, and of "
    "the largest rate that learns, with what the ladder leaves open.",
    "speed": "Seconds of one network, median (least-most), processor seconds of all cores, and peak memory: "
    "(a) plain: modules made for every seed, (a') tuned: made once, (b) explicit engine, (c) implicit "
    "engine, (d) floor. Those with matrices run the given number of blocks; their time, and the memory of "
    "modules, is scaled to the depth.",
    "precision": "Difference to float64 on the same networks, relative, of cosines absolute: median over "
    "layers and networks, and the largest.",
    "accuracy": "The worst layer of each quantity: error of each theory (relative, of cosines absolute), "
    "its standard error and z, and whether it is within the target or 4 standard errors.",
    "resolutions": "The worst layer of each quantity of causal stacks: positions as a coordinate over "
    "sampled heads, the latter's standard error, and whether it is within the target or 4 standard errors.",
    "hard regime": "Squared gradient at layer 0 over Monte Carlo, with standard errors: pair theory, "
    "theory with sampled heads, and the published closure (uniform attention, gradients through values).",
    "width sweep": "Squared gradient at layer 0 over Monte Carlo against depth over width; geometric is the "
    "geometric mean of Monte Carlo over its mean, log_variance its logarithm's variance over networks.",
}
