"""The time of ``predict``: deep stacks under each placement and rule, dense and of experts; and causal ones.

Machines slow down for seconds or minutes: each cell is timed in turn with PreNorm, and given as a multiple of
it too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from statistics import median
from time import perf_counter, process_time
from typing import Any

import pandas as pd

from ..base.errors import AssumptionError, InputError
from ..layers.position_grid import position_grid
from ..prediction.predict import predict
from ..spec.architecture import Architecture

#: blocks of the stacks
DEPTH = 1000

#: causal stacks of :func:`causal_speed`: (blocks, tokens, further fields)
LLAMA = {"positions": "rope", "kv_heads": 8, "activation": "swiglu"}
CAUSAL: tuple[tuple[int, int, dict[str, Any]], ...] = (
    (12, 64, {}),
    (12, 128, {}),
    (12, 256, {}),
    (6, 256, LLAMA),
    (200, 512, {}),
    (48, 4096, LLAMA),
    (48, 131072, LLAMA),
)

#: the longest that heads are sampled for, in the quick study and in the whole one
LONGEST = 128, 256

#: dense blocks, and top-k ones of experts
KINDS: tuple[dict[str, int], ...] = ({}, {"experts": 8, "top_k": 2})


def theory_speed(
    archs: Sequence[Architecture], repeats: int, progress: Callable[[str], object]
) -> pd.DataFrame:
    """Time dense architectures, and each with experts, where it can be and the pair theory takes it.

    Returns:
        columns placement, experts, cells (rules that are timed); median and slowest, milliseconds of a call
        after the first, the least of ``repeats``, over cells; the scaling of the slowest; and
        times_prenorm, the largest multiple of what PreNorm under the unit rule takes in the same moments.

    Raises:
        InputError: fewer than 1 repeat.
    """
    if repeats < 1:
        raise InputError(f"a benchmark needs at least 1 repeat, got {repeats!r}")
    plain = archs[0].with_(placement="pre-norm", scaling="unit")
    predict(plain)
    rows = []
    for kind in KINDS:
        for placement, group in groupby(archs, key=lambda arch: arch.placement):
            progress(f"predict: {placement}{' of experts' if kind else ''}")
            cells = [cell for arch in group if (cell := _cell(arch, kind, plain, repeats))]
            if cells:
                rows.append({"placement": placement, "experts": kind.get("experts", 1), **_summary(cells)})
    return pd.DataFrame(rows)


def causal_speed(quick: bool, progress: Callable[[str], object]) -> pd.DataFrame:
    """Time causal stacks of width 4096 with positions as a coordinate, and beside them with sampled heads
    where that can be.

    Returns:
        columns blocks, tokens, block ("plain", or "llama": rotary, grouped heads, gated), positions (of the
        grid), first and later: processor seconds of the first call and of a later one; and sampled, those
        with sampled heads, NaN where they are too many.
    """
    rows = []
    for depth, tokens, changes in CAUSAL:
        progress(f"predict: {depth} causal blocks of {tokens} tokens")
        arch = Architecture(
            "pre-norm", depth=depth, width=4096, heads=32, tokens=tokens, mask="causal", **changes
        )
        first, later = (_processor_seconds(arch, "positions") for _ in range(2))
        longest = LONGEST[not quick]
        rows.append(
            {
                "blocks": depth,
                "tokens": tokens,
                "block": "llama" if changes else "plain",
                "positions": len(position_grid(tokens, None).positions),
                "first": first,
                "later": later,
                "sampled": _processor_seconds(arch, "sampled") if tokens <= longest else float("nan"),
            }
        )
    return pd.DataFrame(rows)


def _processor_seconds(arch: Architecture, theory: str) -> float:
    start = process_time()
    predict(arch, theory)
    return process_time() - start


def _cell(
    dense: Architecture, kind: dict[str, int], plain: Architecture, repeats: int
) -> dict[str, Any] | None:
    try:
        arch = dense.with_(**kind)
        predict(arch)
    except (AssumptionError, InputError):  # not every block can have experts
        return None
    times = [(_milliseconds(arch), _milliseconds(plain)) for _ in range(repeats)]
    least, reference = map(min, zip(*times, strict=True))
    return {"scaling": arch.scaling, "ms": least, "multiple": least / reference}


def _milliseconds(arch: Architecture) -> float:
    start = perf_counter()
    predict(arch)
    return 1e3 * (perf_counter() - start)


def _summary(cells: list[dict[str, Any]]) -> dict[str, Any]:
    slowest = max(cells, key=lambda cell: cell["ms"])
    return {
        "cells": len(cells),
        "median": median(cell["ms"] for cell in cells),
        "slowest": slowest["ms"],
        "scaling": slowest["scaling"],
        "times_prenorm": max(cell["multiple"] for cell in cells),
    }
