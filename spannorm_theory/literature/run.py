"""Run claims: what the theory says, what random networks say, and the verdict that follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..base import arguments
from ..base.files import write_file
from ..base.interrupts import whole_results
from ..base.jsontext import to_json
from .claim import load_claims
from .judge import Laboratory, judge
from .outcomes import Outcome
from .page import page


@dataclass(frozen=True)
class ClaimsReport:
    """The outcome of :func:`claims`; ``skipped`` claims need ``full``, and nothing was ``simulated`` where
    only derivations were run.

    Attributes:
        outcomes: one for each claim: the claim, its derivation, its checks and the verdict.
        skipped: claims that need ``full``.
        simulated: whether networks were run.

    Example:
        >>> import spannorm_theory as st
        >>> report = st.claims("keel-skip-product", simulated=False)
        >>> [outcome.verdict for outcome in report.outcomes]
        ['holds']
    """

    outcomes: tuple[Outcome, ...]
    skipped: int
    simulated: bool = True

    @property
    def passed(self) -> bool:
        """Whether every verdict is the recorded one."""
        return not any(outcome.changed for outcome in self.outcomes)

    @property
    def table(self) -> pd.DataFrame:
        """One row for each claim and check: id, source, kind, verdict, recorded, role, measure, architecture,
        relation, low, high, estimate, se, networks, outcome."""
        rows = []
        for outcome in self.outcomes:
            claim = outcome.claim
            head = {"id": claim.id, "source": claim.source, "kind": claim.kind}
            head |= {"verdict": outcome.verdict, "recorded": claim.verdict}
            for found in outcome.checked or (None,):
                rows.append(head | ({} if found is None else found.row))
        return pd.DataFrame(rows)

    def summary(self) -> str:
        """The counts of claims, and which verdicts changed, in one line.

        Returns:
            one line.
        """
        changed = [outcome.claim.id for outcome in self.outcomes if outcome.changed]
        which = f" ({', '.join(changed)})" if changed else ""
        tail = f"; {self.skipped} more with full=True" if self.skipped else ""
        return f"{len(self.outcomes)} claims, {len(changed)} with another verdict than recorded{which}{tail}"

    def __repr__(self) -> str:
        """The summary, in place of all outcomes."""
        return f"ClaimsReport: {self.summary()}"

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values.

        Returns:
            ``passed``, ``skipped``, ``simulated``, and ``claims``: a dictionary for each.
        """
        return {
            "passed": self.passed,
            "skipped": self.skipped,
            "simulated": self.simulated,
            "claims": [outcome.to_dict() for outcome in self.outcomes],
        }

    def write(self, path: str | Path) -> None:
        """Write :meth:`to_dict` as JSON.

        Args:
            path: of the file; one that is there is replaced.

        Raises:
            InputError: it cannot be written.
        """
        write_file(path, to_json(self.to_dict(), indent=1) + "\n")

    def write_page(self, path: str | Path, menu: Sequence[tuple[str, str]] = ()) -> None:
        """Write a page of its own, readable offline.

        Args:
            path: of the file; one that is there is replaced.
            menu: links at its side, as address and text.

        Raises:
            InputError: it cannot be written.
        """
        write_file(path, page(self.outcomes, self.simulated, menu))


@whole_results()
def claims(
    ids: Sequence[str] | str | None = None,
    *,
    full: bool = False,
    path: str | Path | None = None,
    device: str = "auto",
    progress: bool = False,
    simulated: bool = True,
) -> ClaimsReport:
    """Run the recorded claims and compare each verdict with the recorded one.

    Source: papers/claims.toml, whose entries name their papers.

    Args:
        ids: only this claim or these, whether or not they are in the quick set.
        full: all claims; else those of the quick set.
        path: another file of claims.
        device: "auto", "cpu" or "cuda", for the networks.
        progress: show a progress bar.
        simulated: False runs derivations only: a verdict is then the recorded one where the derivation agrees
            with it, and undecided elsewhere.

    Returns:
        a :class:`ClaimsReport`.

    Raises:
        InputError: a claim that breaks the schema, or an unknown id.

    Example:
        >>> import spannorm_theory as st
        >>> report = st.claims("keel-skip-product", simulated=False)
        >>> report.summary()
        '1 claims, 0 with another verdict than recorded'
    """
    from tqdm import tqdm

    known = {claim.id: claim for claim in load_claims(path)}
    listed = [arguments.choice("claim", name, known) for name in arguments.names("ids", ids or ())]
    chosen = [known[i] for i in listed] if listed else [c for c in known.values() if full or not c.full]
    device = arguments.device(device)
    laboratory = Laboratory(device) if simulated else None
    outcomes = tuple(
        judge(claim, laboratory) for claim in tqdm(chosen, desc="claims", disable=not progress, delay=2)
    )
    return ClaimsReport(outcomes, 0 if listed else len(known) - len(chosen), simulated)
