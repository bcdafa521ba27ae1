"""A sweep in a process of its own, to be killed: victim.py STORE MEASURE DEPTHS NETWORKS."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import measures

from spannorm_theory.sweeps.cells import grid, specify
from spannorm_theory.sweeps.run import run


def specification(depths, networks):
    sizes = {"width": 16, "heads": 2, "tokens": 4}
    return specify(
        grid({"placement": "span-norm", "depth": list(range(1, depths + 1)), **sizes}),
        networks=networks,
        chunk=4,
        device="cpu",
    )


if __name__ == "__main__":
    store, measure, depths, networks = sys.argv[1:]
    result = run(
        specification(int(depths), int(networks)),
        store,
        workers=2,
        measure=getattr(measures, measure),
        progress=False,
    )
    raise SystemExit(0 if result.passed else 1)
