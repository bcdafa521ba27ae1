"""Cells: derivation and verification of each placement under each scaling rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from ..asymptotics.growth import Growth
from ..base import arguments
from ..base.errors import AssumptionError, InputError, NonFiniteError
from ..derivation.closed_forms import ClosedForms
from ..prediction.predict import predict
from ..render.recursion import Recursion, derive
from ..spec.architecture import Architecture
from ..spec.placements import STANDARD, Placement
from ..verification.outcome import DISAGREES, UNDECIDED, Verification
from ..verification.verification import verify

#: curves of a panel, at most
CURVES = 5


@dataclass(frozen=True)
class Cell:
    """One placement under one scaling rule.

    Attributes:
        verification: None where the architecture could not be predicted or simulated.
        problem: why it could not.
        table: the verification's table; without one, the theory's values alone, or nothing.
    """

    arch: Architecture
    recursion: Recursion
    verification: Verification | None
    problem: str
    table: pd.DataFrame

    @property
    def entry(self) -> Placement:
        """The placement's registry entry."""
        return self.arch.definition

    @cached_property
    def closed(self) -> ClosedForms:
        """Closed forms, and why some are missing."""
        return self.recursion.closed_form()

    @cached_property
    def laws(self) -> dict[str, Growth | str]:
        """Large-depth laws by quantity."""
        return self.recursion.asymptotics()

    @property
    def passed(self) -> bool:
        """Whether theory and Monte Carlo were compared and agree."""
        return self.verification is not None and self.verification.passed

    @property
    def verdict(self) -> str:
        """The outcome in a word or two."""
        if self.verification is None:
            return "not simulated"
        if self.verification.verdict != DISAGREES:
            return self.verification.verdict
        return f"{len(self.verification.failures)} of {len(self.table)} rows off"

    @property
    def tone(self) -> str:
        """The class of the verdict on a page: "good", "open" where nothing was decided, or "bad"."""
        undecided = self.verification is None or self.verification.verdict == UNDECIDED
        return "good" if self.passed else "open" if undecided else "bad"

    @property
    def worst_z(self) -> float:
        """The largest |z| of all rows."""
        return _largest(self.verification, "z")

    @property
    def worst_gate(self) -> float:
        """The largest |estimate - theory| as a share of what the gate allows."""
        return _largest(self.verification, "gate")

    def constant_gain_table(self) -> pd.DataFrame:
        """The recursion iterated with every branch gain equal to one."""
        return self.recursion.iterate(self.arch.depth, sigma_a2=1, sigma_f2=1, omega_a2=1, omega_f2=1)


def _largest(verification: Verification | None, column: str) -> float:
    if verification is None:
        return float("nan")
    tested = verification.table[verification.table["verdict"] != "rare"]
    return float(tested[column].abs().max())


def architectures(
    placements: Sequence[str] | str | None,
    scalings: Sequence[str] | str,
    depth: int,
    width: int,
    heads: int,
    tokens: int,
    **fields: Any,
) -> list[Architecture]:
    """Every placement under every scaling; None takes those of the eight standard placements that have these
    fields.

    Raises:
        InputError: a name, size or field that no architecture can have.
    """
    names = STANDARD if placements is None else dict.fromkeys(arguments.names("placements", placements))
    sizes: dict[str, Any] = {"depth": depth, "width": width, "heads": heads, "tokens": tokens}
    found, refused = [], None
    for placement, scaling in product(names, dict.fromkeys(arguments.names("scalings", scalings))):
        try:
            found.append(Architecture(placement, scaling, **sizes, **fields))
        except InputError as error:
            if placements is not None:
                raise
            refused = refused or error
    if not found:
        raise refused or InputError("a report and its figures need at least one placement and one scaling")
    return found


def groups(archs: Sequence[Architecture]) -> list[tuple[str, list[Architecture]]]:
    """Architectures by placements that have at most ``CURVES`` streams together, each group with what the
    names of its figures end in: nothing for the first, then "-2", ..."""
    found: list[list[str]] = []
    room = 0
    for name, streams in {arch.placement: arch.definition.streams for arch in archs}.items():
        room -= streams
        if room < 0 or not found:
            found.append([])
            room = CURVES - streams
        found[-1].append(name)
    return [
        (f"-{at}" if at > 1 else "", [arch for arch in archs if arch.placement in names])
        for at, names in enumerate(found, 1)
    ]


def compute(
    archs: Sequence[Architecture], networks: int, seed: int, progress: bool = False
) -> Iterator[Cell]:
    """Derive and verify each architecture in turn; ``progress`` shows a bar of networks after two seconds."""
    for arch in archs:
        recursion = derive(arch.placement, arch.scaling)
        try:
            found = verify(arch, networks=networks, seed=seed, progress=progress)
        except (AssumptionError, NonFiniteError) as error:
            yield Cell(arch, recursion, None, str(error), _theory_alone(arch))
        else:
            yield Cell(arch, recursion, found, "", found.table)


def _theory_alone(arch: Architecture) -> pd.DataFrame:
    """The theory in the form of a verification's table; empty where it does not apply."""
    try:
        table = predict(arch).drop(columns="theory")
    except AssumptionError:
        return pd.DataFrame()
    table = table.rename(columns={"value": "theory", "log_value": "log_theory"})
    absent = ("estimate", "se", "z", "relative_error", "allowance", "low", "high", "gate")
    return table.assign(**dict.fromkeys(absent, np.nan), networks=0, verdict="not simulated")
