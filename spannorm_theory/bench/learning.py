r"""Small stacks trained at a ladder of rates, beside what initialisation and the first step say of them.

    python -m spannorm_theory.bench.learning

A design at one depth is trained from the same seed at every rate. The loss of a run is its mean over the last
steps. A rate is *stable* where that is below the loss at the start, and *learns* where it is below that of
the frequencies of characters by ``GAIN``, which a stack whose tokens have become alike does not reach.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from ..base.errors import NoClosedForm
from ..first_steps.first_step import first_step
from ..first_steps.laws import step_law
from ..gaussian.closed_forms import Array
from ..prediction.predict import predict_profiles
from ..spec.architecture import Architecture
from .training import reader, unigram

PLACEMENTS = ("pre-norm", "post-norm", "span-norm", "hybrid-norm", "siamese-norm", "peri-ln")
SCALINGS = ("unit", "depth-scaled-init")
DEPTHS = (2, 8, 24)
#: half a decade between two of them
RATES = {
    "adam": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    "sign": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2),
}
SIZES = "width=128 tokens=32"
STEPS, SEQUENCES, PROCESSES = 100, 8, 2
#: steps at the end whose mean loss is that of a run, and what it must gain on the frequencies of characters
LAST, GAIN = 20, 0.1
#: networks whose first step is measured, on one sequence, and samples of designs of a correlation's interval
NETWORKS, RESAMPLED = 2, 1000

#: what initialisation and the first step say, and what training does
SAID = ("coherent_share", "step_rate", "gradient_ratio")
DONE = ("loss", "learns_to")


@dataclass(frozen=True)
class Job:
    """One run."""

    placement: str
    scaling: str
    depth: int
    optimiser: str
    rate: float
    steps: int = STEPS
    sizes: str = SIZES
    seed: int = 0

    @property
    def arch(self) -> Architecture:
        """What is trained."""
        return reader(f"{self.placement} {self.scaling} depth={self.depth} {self.sizes}")


def run(job: Job) -> tuple[float, float]:
    """Loss at the start and over the last steps of one run; infinite where it left the numbers."""
    import torch

    from .training import train

    torch.set_num_threads(1)
    losses = np.array(list(train(job.arch, job.rate, job.steps, SEQUENCES, job.seed, job.optimiser)))
    end = float(losses[-LAST:].mean()) if np.isfinite(losses[-1]) else np.inf
    return float(losses[0]), end


def runs(jobs: Sequence[Job], progress: Callable[[str], object]) -> pd.DataFrame:
    """All runs, in ``PROCESSES`` processes.

    Returns:
        a row for each job: its fields, start and loss.
    """
    rows = []
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
        for job, (start, loss) in zip(jobs, pool.map(run, jobs), strict=True):
            progress(f"learning: {job.arch}, {job.optimiser} {job.rate:g}: {loss:.3f}")
            rows.append({**vars(job), "start": start, "loss": loss})
    return pd.DataFrame(rows)


def designs(table: pd.DataFrame, progress: Callable[[str], object]) -> pd.DataFrame:
    """What runs at all rates came to, beside what was known before.

    Args:
        table: of :func:`runs`.

    Returns:
        a row for each design and depth: loss and best_rate, of the best run; learns_to and stable_to, the
        largest rates up to which every rate from the best on learns, or is stable, and ``top``, whether that
        is the largest tried; coherent_share of the output's first change; step_rate, at which the first step
        moves the output by a root mean square of 1; gradient_ratio, the largest of squared gradients of two
        layers.
    """
    rows = []
    bar = unigram() - GAIN
    keys = ["placement", "scaling", "depth", "optimiser"]
    for _, own in table.groupby(keys, sort=False):
        own = own.sort_values("rate", ignore_index=True)
        best = own.to_dict("records")[int(own["loss"].argmin())]
        job = Job(**{name: best[name] for name in Job.__dataclass_fields__})
        progress(f"learning: first step of {job.arch}")
        learns = _up_to(own, own["loss"] < bar)
        rows.append(
            {
                **{name: best[name] for name in keys},
                "loss": best["loss"],
                "best_rate": best["rate"],
                "learns_to": learns,
                "stable_to": _up_to(own, own["loss"] < own["start"]),
                "top": learns == own["rate"].max(),
                **_said(job),
            }
        )
    return pd.DataFrame(rows)


def _up_to(own: pd.DataFrame, holds: pd.Series[bool]) -> float:
    """The largest rate that holds, with all from the best run's on; NaN where that does not."""
    best = own["loss"].idxmin()
    after = own.loc[best:, "rate"]
    failed = after[~holds.loc[best:]]
    held = after if failed.empty else after[after < failed.iloc[0]]
    return float(held.max()) if len(held) else np.nan


def _said(job: Job) -> dict[str, float]:
    arch = job.arch
    step = first_step(arch, job.optimiser, networks=NETWORKS, progress=False)
    output = step[step["stream"] == "output"].set_index("quantity")["value"]
    profiles = predict_profiles(arch, "auto", False).profiles
    streams = (str(i) for i in range(arch.definition.streams))
    grads = [profiles[stream, "grad_variance"] for stream in streams]
    total = np.logaddexp.reduce(grads, axis=0)
    return {
        "coherent_share": float(output["coherent_share"]),
        "step_rate": float(output["stream_change"] ** -0.5),
        "gradient_ratio": float(np.exp(total.max() - total.min())),
    }


def correlations(table: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Spearman's rank correlations over designs, by depth, of what was known before with what training did.

    Args:
        table: of :func:`designs`. A design that learns at no rate has the lowest rate.

    Returns:
        depth, optimiser, said, done, correlation, low and high (95 % of samples of designs), designs.
    """
    generator, rows = np.random.default_rng(seed), []
    for (depth, optimiser), own in table.groupby(["depth", "optimiser"], sort=False):
        own = own.fillna({"learns_to": 0.0})
        picks = generator.integers(len(own), size=(RESAMPLED, len(own)))
        for said in SAID:
            for done in DONE:
                x, y = own[said].to_numpy(), own[done].to_numpy()
                drawn = [_spearman(x[pick], y[pick]) for pick in picks]
                known = [x for x in drawn if np.isfinite(x)] if len(own) > 2 else []
                low, high = np.quantile(known, [0.025, 0.975]) if known else (np.nan, np.nan)
                row = {"depth": depth, "optimiser": optimiser, "said": said, "done": done}
                row |= {"correlation": _spearman(x, y), "low": low, "high": high, "designs": len(own)}
                rows.append(row)
    return pd.DataFrame(rows)


def _spearman(x: Array, y: Array) -> float:
    a, b = (rankdata(z) - (len(z) + 1) / 2 for z in (x, y))
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size else np.nan


def exponents(table: pd.DataFrame) -> pd.DataFrame:
    """How rates fall with depth: fitted powers of L, and the law's.

    Args:
        table: of :func:`designs`.

    Returns:
        placement, scaling, optimiser; law, of ``step_law`` where that is a number and no exponential beside
        it; first_step, of ``step_rate``; learns_to, of the
        rates that learn, of which the ladder leaves about half a decade open at either end, and ``open``,
        the exponent that this leaves open; NaN where a depth has none or one is the largest tried.
    """
    rows = []
    keys = ["placement", "scaling", "optimiser"]
    for _, own in table.groupby(keys, sort=False):
        if len(own) < 2:
            continue
        depths = np.log(own["depth"].to_numpy(dtype=float))
        ends = own["learns_to"].where(~own["top"]).to_numpy(dtype=float)
        rows.append(
            {
                **(design := own[keys].to_dict("records")[0]),
                "law": _law(*design.values()),
                "first_step": _slope(depths, np.log(own["step_rate"].to_numpy(dtype=float))),
                "learns_to": _slope(depths, np.log(ends)),
                "open": np.log(10**0.5) / float(np.ptp(depths)),
            }
        )
    return pd.DataFrame(rows)


def _law(placement: Any, scaling: Any, optimiser: Any) -> float:
    try:
        law = step_law(placement, scaling, optimiser)
    except NoClosedForm:
        return np.nan
    power = law.together if not any(law.rate.values()) else None
    return float(power) if power is not None and power.is_number else np.nan


def _slope(x: Array, y: Array) -> float:
    return float(np.polyfit(x, y, 1)[0]) if np.isfinite(y).all() else np.nan


def jobs(
    placements: Sequence[str] = PLACEMENTS,
    scalings: Sequence[str] = SCALINGS,
    depths: Sequence[int] = DEPTHS,
    optimiser: str = "adam",
    **options: Any,
) -> Iterator[Job]:
    """A job for each design, depth and rate of the ladder; ``options`` are other fields of them."""
    for depth in depths:
        for placement in placements:
            for scaling in scalings:
                for rate in RATES[optimiser]:
                    yield Job(placement, scaling, depth, optimiser, rate, **options)


def learning(work: Sequence[Job], progress: Callable[[str], object]) -> dict[str, pd.DataFrame]:
    """The study of all jobs.

    Returns:
        tables "learning" (of :func:`designs`), "correlations" and "exponents".
    """
    table = designs(runs(work, progress), progress)
    return {"learning": table, "correlations": correlations(table), "exponents": exponents(table)}


if __name__ == "__main__":
    for name, found in learning(list(jobs()), print).items():
        print(f"\n{name}\n{found.to_string(index=False, float_format=lambda x: f'{x:.3g}')}")
