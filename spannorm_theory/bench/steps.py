"""The theory of the first step against networks: norms of gradients, what branches move by, and what streams
move by along the gradient.

python -m spannorm_theory.bench.steps 3            # networks; placements may follow, or --quick
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from ..base.quantities import Key
from ..first_steps.first_step import step_ensemble
from ..first_steps.optimisers import optimiser
from ..first_steps.rates import rates_of
from ..first_steps.theory import predicted
from ..gaussian.closed_forms import Array
from ..spec.architecture import Architecture

PLACEMENTS = ("pre-norm", "post-norm", "span-norm", "hybrid-norm", "siamese-norm", "peri-ln")
SCALINGS, MASKS = ("unit", "depth-scaled-init"), ("none", "causal")
SIZES: dict[str, Any] = {"depth": 12, "width": 512, "heads": 8, "tokens": 32}
QUICK: dict[str, Any] = {"depth": 3, "width": 64, "heads": 4, "tokens": 8}

#: what is compared
COMPARED = ("grad_l1", "grad_nuclear", "branch_change", "coherent_change")

#: the error that a theory may have, and standard errors within which any difference is accepted
TARGET, FEW = 0.05, 3.0


def cases(placements: Iterable[str] = PLACEMENTS, **sizes: Any) -> list[Architecture]:
    """Every placement without a mask and causal, under both rules."""
    return [
        Architecture(placement, scaling, mask=mask, **{**SIZES, **sizes})
        for mask, scaling, placement in product(MASKS, SCALINGS, placements)
    ]


def steps(
    archs: Iterable[Architecture], networks: int, rule: str, seed: int, progress: Callable[[str], object]
) -> pd.DataFrame:
    """Rows of :func:`compared` of every architecture, whose networks are drawn."""
    frames = []
    for arch in archs:
        progress(f"steps: {arch}")
        samples = step_ensemble(
            arch, optimiser(rule), rates_of(arch, 1.0), networks, seed, "cpu", False
        ).samples
        frames.append(compared(arch, rule, samples))
    return pd.concat(frames, ignore_index=True)


def compared(arch: Architecture, rule: str, samples: Mapping[Key, Array]) -> pd.DataFrame:
    """One row for each quantity of each matrix, branch or stream.

    Args:
        samples: by stream and quantity, logarithms, (networks, layers).

    Returns:
        columns placement, scaling, mask, quantity, stream; ratio, networks over theory in the geometric mean
        over layers, and its standard error se over networks; layer, that which is furthest from the theory,
        and its ratio, worst, with worst_se; met, whether ratio is within the target or ``FEW`` standard
        errors.
    """
    theory = predicted(arch, optimiser(rule), rates_of(arch, 1.0)).profiles
    rows = []
    for (stream, quantity), found in samples.items():
        if quantity in COMPARED:
            head = {**arch.labels, "mask": arch.mask, "quantity": quantity, "stream": stream}
            rows.append(head | _row(theory[stream, quantity], found))
    table = pd.DataFrame(rows)
    return table[["placement", "scaling", "mask", *table.columns[list(table.columns).index("quantity") :]]]


def _row(theory: Array, logs: Array) -> dict[str, Any]:
    moved = np.flatnonzero(np.isfinite(theory))
    ratios = np.exp(logs[:, moved] - theory[moved])
    mean, error = ratios.mean(axis=0), ratios.std(axis=0, ddof=1) / np.sqrt(len(ratios))
    each = np.exp(np.log(ratios).mean(axis=1))
    ratio, se = float(np.exp(np.log(mean).mean())), float(each.std(ddof=1) / np.sqrt(len(each)))
    at = int(np.abs(np.log(mean)).argmax())
    return {
        "ratio": ratio,
        "se": se,
        "layer": int(moved[at]),
        "worst": float(mean[at]),
        "worst_se": float(error[at]),
        "met": bool(abs(ratio - 1) <= max(TARGET, FEW * se)),
    }


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each architecture: the ratio that is furthest from 1 of each quantity, its standard error,
    and the matrix or branch that it is of."""
    rows = []
    for head, group in table.groupby(["placement", "scaling", "mask"], sort=False):
        row = dict(zip(("placement", "scaling", "mask"), head, strict=True))
        for quantity, part in group.groupby("quantity", sort=False):
            worst = part.loc[np.log(part["ratio"]).abs().idxmax()]
            row[str(quantity)] = f"{worst['ratio']:.3f} ± {worst['se']:.3f} {worst['stream']}"
        rows.append(row | {"met": f"{group['met'].sum()} of {len(group)}"})
    return pd.DataFrame(rows)


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    chosen = cases(words[1:] or PLACEMENTS, **(QUICK if "--quick" in sys.argv else {}))
    count = int(words[0]) if words else 3
    result = steps(chosen, count, "sign", 0, lambda line: print(line, file=sys.stderr, flush=True))
    print(summary(result).to_string(index=False))
