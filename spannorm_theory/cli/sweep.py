"""What ``spannorm sweep`` does and prints."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ..base.errors import InputError
from ..sweeps.cells import read_specification
from ..sweeps.executors import opened
from ..sweeps.run import Sweep, run
from ..sweeps.store.export import export
from ..sweeps.store.store import Store


def run_sweep(args: argparse.Namespace) -> int:
    """Sweep, or answer a question about a store; 1 where a cell has failed."""
    if args.status or args.export or args.merge:
        if args.specification:
            raise InputError("--status, --export and --merge are about a store; leave out the specification")
        return _status(args) if args.status else _export(args) if args.export else _merge(args)
    overrides: dict[str, Any] = {
        name: value for name in ("networks", "device") if (value := getattr(args, name)) is not None
    }
    options: dict[str, Any] = {
        "store": args.store,
        "bundle": args.bundle,
        "retry_failed": args.retry_failed,
        "progress": not args.quiet,
    }
    if not (args.preset or args.specification):
        raise InputError("expected a specification file, or one of --preset, --status, --export, --merge")
    if args.preset and args.specification:
        raise InputError("a preset is a specification of its own; leave out the file")
    with opened(args.executor, args.store, args.workers, args.address, args.job) as executor:
        options |= {"executor": executor, "workers": args.workers if executor is None else None}
        if args.preset:
            from ..report.phase_presets import run_preset

            result, figures = run_preset(args.preset, args.out, overrides, options)
        else:
            result, figures = run(read_specification(args.specification, **overrides), **options), []
    return _finish(result, args.json, figures)


def _finish(result: Sweep, as_json: bool, figures: list[Path]) -> int:
    if as_json:
        print(result.table.to_json(orient="records"))
    else:
        print("\n".join([result.summary(), *(f"wrote {path}" for path in figures)]))
    return 0 if result.passed else 1


def _status(args: argparse.Namespace) -> int:
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
        print(json.dumps({**counts, "owners": sorted(status.running.values()), "failures": details}))
    else:
        print(", ".join(f"{count} {name}" for name, count in counts.items()))
        for who in sorted(status.running.values()):
            print(f"running: {who}")
        for failure in failures:
            print(f"FAIL {failure.cell.arch} (networks from {failure.cell.first}): {failure.error}")
    return 1 if failures else 0


def _export(args: argparse.Namespace) -> int:
    rows = export(Store(args.store), args.export)
    print(json.dumps({"rows": rows, "file": args.export}) if args.json else f"{args.export}: {rows} rows")
    return 0


def _merge(args: argparse.Namespace) -> int:
    new = Store(args.store).merge(Store(args.merge))
    print(json.dumps({"new": new}) if args.json else f"{new} new cells from {args.merge} in {args.store}")
    return 0
