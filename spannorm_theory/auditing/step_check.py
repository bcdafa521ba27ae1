"""The coordinate check of a user's module: its first step, measured, against theory of what is expected."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from ..base.errors import AssumptionError
from ..first_steps.optimisers import Optimiser
from ..first_steps.rates import rates_of
from ..first_steps.step_rows import samples_of
from ..first_steps.theory import predicted
from ..first_steps.verify_step import compare_step
from ..montecarlo.ensemble import Ensemble
from ..montecarlo.global_state import arithmetic
from ..spec.architecture import Architecture
from ..verification.outcome import DISAGREES, UNDECIDED, Verification
from .blocks import find_blocks
from .inputs import feed_of
from .module_step import Make, ModuleStep, Plan
from .networks import built, plain
from .probe import Probe


@dataclass(frozen=True, repr=False)
class StepCheck:
    """The first step of a module's networks.

    Attributes:
        rule: the optimiser that is expected.
        lr: the learning rate that is expected, or rates by matrix.
        measured: the quantities of the networks' steps.
        verification: the theory against them; None where there is none.
        reason: why there is none.
        size: by what share of its own size the whole step moves the output, root mean square over networks.
        linear: that over what it would be to first order in the learning rate.
    """

    rule: Optimiser
    lr: float | Mapping[str, float]
    measured: Ensemble = field(compare=False)
    verification: Verification | None = field(compare=False)
    reason: str
    size: float
    linear: float

    @property
    def verdict(self) -> str:
        """The verdict of the verification; "undecided" where no theory is there."""
        return UNDECIDED if self.verification is None else self.verification.verdict

    @property
    def table(self) -> pd.DataFrame:
        """Rows of the verification, or of the networks alone."""
        return self.measured.table if self.verification is None else self.verification.table

    def words(self) -> str:
        """The verdict with its reason, and how far the output moves."""
        lr = self.lr if isinstance(self.lr, Mapping) else f"{self.lr:g}"
        checked = self.verification
        outcome = f"UNDECIDED: {self.reason}" if checked is None else checked.outcome()
        if checked is not None and checked.verdict == DISAGREES:
            outcome += "".join(f"; {one}" for one in _departures(checked.failures, checked.arch.depth))
        return (
            f"first step of {self.rule.name} at lr={lr}: {outcome}; the output moves by {self.size:.2g} of "
            f"its size, {self.linear:.2g} times the first order"
        )


def _departures(failures: pd.DataFrame, depth: int) -> list[str]:
    """What moves otherwise, in words: each role's updates, then the first block's stream, and the output."""
    found = []
    ratio = failures["estimate"] / failures["theory"]
    updates = failures[failures["quantity"] == "update_ratio"]
    for role, rows in updates.groupby("stream", sort=False):
        where = "all blocks" if len(rows) == depth else f"{len(rows)} blocks"
        found.append(f"updates of {role} of {where}: {ratio[rows.index].median():.3g} times those expected")
    moved = failures[failures["quantity"] == "stream_change"]
    streams = moved[moved["stream"] != "output"]
    if len(streams):
        layer = int(streams["layer"].min())
        times = float(ratio[streams.index[streams["layer"] == layer]].iloc[0]) ** 0.5
        found.append(f"the stream behind block {layer - 1} moves {times:.3g} times as far")
    found += [
        f"the output moves {x**0.5:.3g} times as far" for x in ratio[moved.index[moved["stream"] == "output"]]
    ]
    return found


def step_check(
    build: Callable[..., Any],
    inputs: Any,
    measured: Probe,
    arch: Architecture,
    rule: Optimiser,
    lr: float | Mapping[str, float],
    make: Make | None,
    progress: bool,
) -> StepCheck:
    """Measure the first step of the networks of a probe, and hold the theory of ``arch`` against it.

    Args:
        make: of the module's own optimiser; None takes the step of ``rule``.

    Raises:
        InputError: a step that cannot be measured.
        NonFiniteError: one whose changes are no numbers.
    """
    rates = rates_of(arch, lr)
    plan = Plan(rule, rates, 0.0 if isinstance(lr, Mapping) else float(lr), make)
    steps = []
    with arithmetic():
        for seed in tqdm(measured.seeds, unit="network", delay=2, disable=not progress, desc="step"):
            model, given = built(build, seed)
            model = plain(model)
            feed = feed_of(given if inputs is None else inputs, model, seed, measured.tokens, 1)
            blocks = find_blocks(model, measured.blocks)
            steps.append(ModuleStep(model, blocks, feed, plan, seed, measured.matrices))
    arch = arch.with_(batch=steps[0].sequences)
    ensemble = Ensemble(
        arch,
        len(steps),
        0,
        "",
        "module",
        f"networks of {measured.name}",
        "as built",
        samples_of([one.found for one in steps], arch.depth),
    )
    verification, reason = None, ""
    try:
        verification = compare_step(predicted(arch, rule, rates), ensemble)
    except AssumptionError as error:
        reason = str(error).partition("; use networks=")[0]
    size, linear = (_root_mean([getattr(one, name) for one in steps]) for name in ("size", "linear"))
    return StepCheck(rule, lr, ensemble, verification, reason, size, linear)


def _root_mean(values: list[float]) -> float:
    return float(np.sqrt(np.square(values).mean()))
