"""Stand-ins for Monte Carlo that say when they run; workers import this module."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from spannorm_theory.sweeps.worker import simulate_cells


def _log(word, cells):
    if "SWEEP_LOG" in os.environ:
        line = "".join(f"{word} {cell.key}\n" for cell in cells)
        descriptor = os.open(os.environ["SWEEP_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, line.encode())
        os.close(descriptor)


def _hold(cells):
    """Wait for the file SWEEP_GATE before the cell SWEEP_HELD: no sweep ends before its killer has come."""
    if os.environ.get("SWEEP_HELD") in [cell.key for cell in cells]:
        while not Path(os.environ["SWEEP_GATE"]).exists():
            time.sleep(0.01)


def draw(cells):
    """Numbers that depend on the cell alone, at once."""
    parts = []
    for cell in cells:
        rng = np.random.default_rng(int(cell.key, 16))
        parts.append(
            {
                ("0", "variance"): rng.normal(size=(cell.count, 4)),
                ("0", "token_cosine"): rng.random((cell.count, 4)),
            }
        )
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}, {"device": "cpu"}


def slow(cells):
    """The same, in a tenth of a second."""
    _log("start", cells)
    _hold(cells)
    time.sleep(0.1)
    samples = draw(cells)
    _log("end", cells)
    return samples


def simulated(cells):
    """Monte Carlo that says when it runs."""
    _log("start", cells)
    _hold(cells)
    samples = simulate_cells(cells)
    _log("end", cells)
    return samples


def failing(cells):
    """Fails for post-norm as long as there is no file that says otherwise."""
    if "post-norm" in cells[0].arch and not Path(os.environ["SWEEP_MENDED"]).exists():
        raise RuntimeError("no such luck")
    return draw(cells)


def deadly(cells):
    """Takes the worker down for one architecture; dawdles for the others, to be in flight with it."""
    _log("start", cells)
    if "depth=3" in cells[0].arch:
        os._exit(9)
    time.sleep(0.05)
    return draw(cells)


def hanging(cells):
    """Never ends for one architecture."""
    if "depth=3" in cells[0].arch:
        time.sleep(3600)
    return draw(cells)
