"""``atlas``: which cells there are, computing them in parallel, and a sample of them by Monte Carlo."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ..base import arguments
from ..base.errors import AssumptionError, InputError, NonFiniteError, UnknownNameError
from ..base.files import make_folder, write_file
from ..base.interrupts import whole_results
from ..spec.architecture import Architecture, parse_placement
from ..spec.independence import require_independent
from ..spec.placements import PLACEMENTS
from ..spec.scaling import SCALINGS
from .latex import longtable
from .page import page
from .records import FAILED, OK, UNCHECKED, Cell
from .table import frame
from .workers import computed

#: stacks whose shares are given; bounds are of the first
DEPTHS = (64, 1024)

#: CPU seconds after which a cell is given up
SECONDS = 30.0


@dataclass(frozen=True)
class Atlas:
    """Every cell, in the order of placements, then scaling rules.

    Attributes:
        cells: one for each pair of placement and rule: architecture, laws, shares, bounds, checks.
        depths: of the shares.
        networks: of the Monte Carlo sample; 0 where none was run.

    Example:
        >>> import spannorm_theory as st
        >>> found = st.atlas("pre-norm", "unit")
        >>> len(found.cells), found.networks
        (1, 0)
    """

    cells: tuple[Cell, ...]
    depths: tuple[int, ...]
    networks: int = 0

    @property
    def table(self) -> pd.DataFrame:
        """One row for each cell; see :func:`spannorm_theory.atlases.table.frame` for the columns."""
        return frame(self.cells, self.depths)

    @property
    def failures(self) -> list[Cell]:
        """Cells whose law or Monte Carlo comparison disagrees, or that could not be computed."""
        return [cell for cell in self.cells if cell.failed]

    @property
    def passed(self) -> bool:
        """Whether no cell failed."""
        return not self.failures

    def summary(self) -> str:
        """Numbers of cells, of laws by the outcome of their check, and of Monte Carlo comparisons, in one
        line.

        Returns:
            one line.
        """
        laws = [f for cell in self.cells for f in cell.found.values()]
        counts = {status: sum(f.status == status for f in laws) for status in (OK, "later", FAILED)}
        text = (
            f"{len(self.cells)} cells, {len(laws)} laws wanted: {counts[OK]} derived and checked, "
            f"{counts['later']} that set in later, {sum(f.law is None for f in laws)} only iterated, "
            f"{counts[FAILED]} wrong"
        )
        if unchecked := sum(f.law is not None and f.status == UNCHECKED for f in laws):
            text += f", {unchecked} unchecked"
        sampled = [cell for cell in self.cells if cell.monte_carlo]
        if sampled:
            agree = sum(cell.monte_carlo.startswith(OK) for cell in sampled)
            text += f"; Monte Carlo agrees in {agree} of {len(sampled)} cells"
        return text

    def write(self, out: str | os.PathLike[str], menu: Sequence[tuple[str, str]] = ()) -> Path:
        """Write atlas.html, atlas.csv and atlas.tex into the folder ``out``; other files in it stay.

        Args:
            out: the folder, made if it does not exist.
            menu: links at the side of the page, as address and text.

        Returns:
            the folder's path.

        Raises:
            InputError: it cannot be written.
        """
        folder = make_folder(arguments.path("out", out))
        contents = {
            "atlas.html": page(self.cells, self.depths, self.summary(), menu),
            "atlas.csv": self.table.to_csv(index=False),
            "atlas.tex": longtable(self.cells),
        }
        for name, text in contents.items():
            write_file(folder / name, text)
        return folder

    def __repr__(self) -> str:
        """The summary, in place of all cells."""
        return f"Atlas: {self.summary()}"

    def _repr_html_(self) -> str:
        return str(self.table.to_html(index=False, float_format=lambda x: f"{x:.3g}"))


def architectures(
    placements: Sequence[str] | str | None = None, scalings: Sequence[str] | str | None = None, **fields: Any
) -> list[Architecture]:
    """Every placement under every scaling rule that it can take; None takes all that are registered.

    Raises:
        InputError: a name or field that no architecture can have, or no cell is left.
        AssumptionError: blocks have matrices in common.
    """
    names = _names("placements", placements, PLACEMENTS)
    rules = _names("scalings", scalings, SCALINGS)
    for name in names:
        PLACEMENTS[parse_placement(name)[0]]
    for rule in rules:
        SCALINGS[rule]
    if names:
        # a field that no cell can have is no matter of the rule
        require_independent(Architecture(names[0], **fields))
    found = [arch for name in names for rule in rules if (arch := _valid(name, rule, fields)) is not None]
    if not found:
        raise InputError("no cell is left: none of these scaling rules belongs to any of these placements")
    return found


def _names(name: str, given: Sequence[str] | str | None, known: Iterable[str]) -> list[str]:
    return list(known if given is None else dict.fromkeys(arguments.names(name, given)))


def _valid(placement: str, scaling: str, fields: dict[str, Any]) -> Architecture | None:
    try:
        arch = Architecture(placement, scaling, **fields)
        return arch if arch.traces else None  # what cannot be traced is no cell
    except UnknownNameError:
        raise
    except InputError:
        return None


@whole_results()
def atlas(
    placements: Sequence[str] | str | None = None,
    scalings: Sequence[str] | str | None = None,
    *,
    depths: Sequence[int] = DEPTHS,
    networks: int = 0,
    sample: int = 12,
    seed: int = 0,
    seconds: float = SECONDS,
    workers: int | None = None,
    progress: bool = False,
    **fields: Any,
) -> Atlas:
    """The laws of every placement under every scaling rule, checked, with what they amount to in words.

    Laws are derived for constant branch gains and evaluated at those of the architecture's components, for
    aligned tokens (:mod:`spannorm_theory.atlases.branch_gains`). Each is held against the step iterated to
    depth 10^4 (:mod:`spannorm_theory.atlases.check`); what has no law is fitted to that iteration and marked.
    Pairs that a rule refuses, or cannot be applied to, are left out.

    Source: docs/theory.md, section 12.

    Args:
        placements, scalings: registered names, one or several; None takes all.
        depths: of the branch shares and cosines; bounds are given at the first.
        networks: of a Monte Carlo verification of some cells; 0 runs none.
        sample: how many cells that is, spread over the table.
        seed: of that verification.
        seconds: CPU time after which a cell is given up and reported.
        workers: processes; None takes one for each core.
        progress: show a progress bar.
        fields: further fields of :class:`~spannorm_theory.spec.architecture.Architecture`. Depth and width
        are
            those of the Monte Carlo.

    Returns:
        an :class:`Atlas`.

    Raises:
        InputError: a name or field that no architecture can have, or another value that cannot be used.

    Example:
        >>> import spannorm_theory as st
        >>> found = st.atlas("pre-norm", "unit")
        >>> found.table.loc[0, ["forward_law", "gradient_origin"]].tolist()
        ['L', 'derived']
    """
    order = tuple(
        sorted({arguments.whole("depths", d, 1) for d in arguments.items("depths", depths, "integers")})
    )
    if not order:
        raise InputError("depths must be integers of at least 1, got none")
    networks, sample = arguments.whole("networks", networks), arguments.whole("sample", sample)
    if networks and networks < 3:
        raise InputError(f"a Monte Carlo sample needs at least 3 networks, got {networks}; 0 runs none")
    seed, seconds = arguments.seed(seed), arguments.number("seconds", seconds)
    workers = None if workers is None else arguments.whole("workers", workers, 1)
    from tqdm import tqdm

    archs = architectures(placements, scalings, **fields)
    found = computed(archs, order, seconds, workers)
    done = dict(tqdm(found, total=len(archs), desc="atlas", disable=not progress))
    cells = [done[i] for i in range(len(archs))]
    if networks:
        chosen = _spread([i for i, cell in enumerate(cells) if cell.shares], sample)
        for i in tqdm(chosen, desc="Monte Carlo", disable=not progress):
            cells[i] = replace(cells[i], monte_carlo=_monte_carlo(cells[i].arch, networks, seed))
    return Atlas(tuple(cells), order, networks)


def _spread(indices: Sequence[int], count: int) -> list[int]:
    """``count`` of the indices, evenly spread."""
    if count >= len(indices):
        return list(indices)
    return [indices[(2 * i + 1) * len(indices) // (2 * count)] for i in range(count)]


def _monte_carlo(arch: Architecture, networks: int, seed: int) -> str:
    from ..verification.outcome import UNDECIDED
    from ..verification.verification import verify

    try:
        result = verify(arch, networks=networks, seed=seed, progress=False)
    except (AssumptionError, NonFiniteError) as error:
        return f"not simulated: {error}"
    if result.passed:
        return f"{OK} ({len(result.table)} rows)"
    return result.outcome() if result.verdict == UNDECIDED else f"{FAILED}: {result.outcome()}"
