"""``spannorm sweep``: measure many architectures, or answer a question about a store."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .flags import Commands
from .given import require_read

if TYPE_CHECKING:
    from ..sweeps.run import Sweep


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add("sweep", "Measure many architectures; what is finished is kept.", _run)
    parser.add_argument("specification", nargs="?", metavar="SPEC.toml", help="what to measure")
    job = parser.add_mutually_exclusive_group()
    job.add_argument("--preset", metavar="NAME", help="a phase diagram (an unknown NAME lists them)")
    job.add_argument("--status", action="store_true", help="say what is done, running and failed")
    job.add_argument("--export", metavar="FILE", help="write the store's table as .parquet or .csv")
    job.add_argument("--merge", metavar="STORE", help="take over the cells of another store")
    parser.add_argument("--placement", help="of the preset depth-branch (default: post-norm)")
    parser.add_argument("--store", default="results", help="folder of the results (default: results)")
    parser.add_argument("--workers", type=int, help="processes (default: one for each core or CUDA device)")
    parser.add_argument(
        "--executor",
        default="pool",
        metavar="NAME",
        help="pool (processes of this machine), dask, submitit (Slurm) or mpi (default: pool)",
    )
    parser.add_argument("--address", help="of a Dask scheduler (default: workers on this machine)")
    parser.add_argument(
        "--job",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a parameter of Slurm jobs, as submitit calls it (timeout_min=60); may come several times",
    )
    parser.add_argument("--bundle", type=int, help="cells of one submission (default: by the executor)")
    parser.add_argument("--networks", type=int, help="in place of the specification's")
    parser.add_argument("--device", help="auto, cpu or cuda, in place of the specification's")
    parser.add_argument("--retry-failed", action="store_true", help="try failed cells again")
    parser.add_argument(
        "--cell-timeout", type=float, metavar="SECONDS", help="a cell that takes longer counts as failed"
    )
    parser.add_argument("--out", default="figures", help="folder for a preset's figure (default: figures)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _run(args: argparse.Namespace) -> int:
    from ..base.errors import InputError
    from ..sweeps.cells import read_specification
    from ..sweeps.executors import opened
    from ..sweeps.run import run

    if args.status or args.export or args.merge:
        if args.specification:
            raise InputError("--status, --export and --merge are about a store; leave out the specification")
        job = next(name for name in ("status", "export", "merge") if getattr(args, name))
        require_read(args, f"--{job}", ("store", job))
        return _status(args) if args.status else _export(args) if args.export else _merge(args)
    overrides: dict[str, Any] = {
        name: value for name in ("networks", "device") if (value := getattr(args, name)) is not None
    }
    options: dict[str, Any] = {
        "store": args.store,
        "bundle": args.bundle,
        "retry_failed": args.retry_failed,
        "progress": not args.quiet,
        "cell_timeout": args.cell_timeout,
    }
    if not (args.preset or args.specification):
        raise InputError("expected a specification file, or one of --preset, --status, --export, --merge")
    if args.preset and args.specification:
        raise InputError("a preset is a specification of its own; leave out the file")
    if args.specification:
        require_read(args, "of a specification", args.given - {"out", "placement"})
    with opened(args.executor, args.store, args.workers, args.address, args.job) as executor:
        options |= {"executor": executor, "workers": args.workers if executor is None else None}
        if args.preset:
            from ..report.phase_presets import run_preset

            result, figures = run_preset(args.preset, args.out, overrides, options, args.placement)
        else:
            result, figures = run(read_specification(args.specification, **overrides), **options), []
    return _finish(result, args.json, figures)


def _finish(result: Sweep, as_json: bool, figures: list[Path]) -> int:
    from ..base.jsontext import to_json

    if as_json:
        print(to_json(result.table))
    else:
        print("\n".join([result.summary(), *(f"wrote {path}" for path in figures)]))
    return 0 if result.passed else 1


def _status(args: argparse.Namespace) -> int:
    from ..base.jsontext import to_json
    from ..sweeps.store.store import Store

    store = Store(args.store)
    status, failures = store.status(), store.failures()
    counts = {
        "wanted": status.wanted,
        "done": status.done,
        "running": len(status.running),
        "failed": status.failed,
        "waiting": status.waiting,
    }
    if args.json:
        details = [{"architecture": f.cell.arch, "first": f.cell.first, "error": f.error} for f in failures]
        print(to_json({**counts, "owners": sorted(status.running.values()), "failures": details}))
    else:
        print(", ".join(f"{count} {name}" for name, count in counts.items()))
        for who in sorted(status.running.values()):
            print(f"running: {who}")
        for failure in failures:
            print(f"FAIL {failure.cell.arch} (networks from {failure.cell.first}): {failure.error}")
    return 1 if failures else 0


def _export(args: argparse.Namespace) -> int:
    from ..base.jsontext import to_json
    from ..sweeps.store.export import export
    from ..sweeps.store.store import Store

    rows = export(Store(args.store), args.export)
    print(to_json({"rows": rows, "file": args.export}) if args.json else f"{args.export}: {rows} rows")
    return 0


def _merge(args: argparse.Namespace) -> int:
    from ..base.jsontext import to_json
    from ..sweeps.store.store import Store

    new = Store(args.store).merge(Store(args.merge))
    print(to_json({"new": new}) if args.json else f"{new} new cells from {args.merge} in {args.store}")
    return 0
