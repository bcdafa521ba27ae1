"""The result of an audit: its verdict, what it rests on in words, and its page."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..base.files import write_file
from ..models.model import Gap
from ..spec.architecture import Architecture
from ..verification.outcome import DISAGREES, UNDECIDED, Verification
from .deviation import Deviation
from .draws import DRAWS, EQUAL
from .explanation import first_departure
from .page import page
from .probe import Probe
from .read import Reading
from .step_check import StepCheck
from .suspects import Suspect

HEALTHY, DEPARTS, OPEN = "healthy", "departs", "undecided"

#: the source of an architecture that nobody stated and no configuration says
UNSTATED = "no expectation, only the theory of what was read"


@dataclass(frozen=True, repr=False)
class Audit:
    """The result of :func:`.audit.audit`.

    Attributes:
        reading: what the tensors say.
        probe: what the networks do.
        expected: the architecture that the module should be.
        source: where that comes from, in words.
        deviations: single things in which the module is not as expected, by its tensors and its input.
        arch: the expected architecture with these things as they were found.
        verification: the theory of ``arch`` against the networks.
        gaps: what the module has and ``arch`` does not: with one whose effect is not below noise, nothing is
            passed.
        suspect: where theory and networks disagree, the single change that restores agreement; None where
            they agree, or no change of the list does.
        lacking: what of the deviations no theory has, in words: with one, networks are not judged.
        step: the first step of an optimiser against the theory of ``expected``; None where none was asked
            for.
    """

    reading: Reading
    probe: Probe
    expected: Architecture
    source: str
    deviations: tuple[Deviation, ...]
    arch: Architecture
    verification: Verification = field(compare=False)
    gaps: tuple[Gap, ...]
    suspect: Suspect | None
    lacking: tuple[str, ...] = ()
    step: StepCheck | None = None

    @property
    def verdict(self) -> str:
        """ "departs" where something is not as expected, or matrices are no draws; "undecided" where networks
        are too few, the module has what the theory does not model, or the theory of what was read does not
        explain a module of which nothing is expected; else "healthy"."""
        whats = {one.what for one in self.deviations}
        if {EQUAL, DRAWS} & whats or (not self.unstated and (whats or self.suspect is not None)):
            return DEPARTS
        verdicts = {self.verification.verdict, *([] if self.step is None else [self.step.verdict])}
        if whats or not all(gap.below_noise for gap in self.gaps) or UNDECIDED in verdicts:
            return OPEN
        if DISAGREES in verdicts:
            return OPEN if self.unstated else DEPARTS
        return HEALTHY

    @property
    def unstated(self) -> bool:
        """Whether nobody said what the module should be, so that it departs from nothing."""
        return self.source == UNSTATED

    @property
    def first_block(self) -> int | None:
        """The first block that is not as the theory of ``arch`` says (:func:`first_departure`)."""
        return first_departure(self.verification)

    def summary(self) -> str:
        """The verdict, and a line for each thing that it rests on.

        Returns:
            lines: the verdict with what the module is held against; the rule of each role; each deviation;
            the networks against the theory; the first step; what is not modelled.
        """
        lines = [
            f"{self.probe.name}: {self.verdict.upper()}, against {self.source}",
            f"  {self.reading.words()}",
        ]
        lines += [f"  {one}" for one in self.deviations]
        lines.append(f"  networks against {self._theory}: {self._outcome}{self._left_out}")
        lines += [f"  not predicted: {line}" for line in self.verification.left_out]
        if self._contradicted:
            lines.append(f"  {self._departure()}")
        if self.step is not None:
            lines.append(f"  {self.step.words()}")
        lines += [f"  {'note' if gap.below_noise else 'not modelled'}: {gap}" for gap in self.gaps]
        return "\n".join(lines)

    @property
    def _theory(self) -> str:
        """What the networks are held against, in words."""
        if self.lacking:
            return "the theory"
        if self.deviations:
            return "the theory with these as they were found"
        return "what was read" if self.unstated else "the expected architecture"

    @property
    def _contradicted(self) -> bool:
        """Whether networks disagree with a theory that has all that was found."""
        return self.verification.verdict == DISAGREES and not self.lacking

    @property
    def _outcome(self) -> str:
        if self.lacking and self.verification.verdict == DISAGREES:
            return f"UNDECIDED: theory has no {', and no '.join(self.lacking)}"
        return self.verification.outcome()

    @property
    def _left_out(self) -> str:
        """The rows that gaps change, in words."""
        matrices = list(dict.fromkeys(matrix for gap in self.gaps for matrix in gap.gradients))
        return f"; weight gradients of {' and '.join(matrices)} are not judged" if matrices else ""

    def _departure(self) -> str:
        block = self.first_block
        where = "only the stream's gradient departs" if block is None else f"block {block} departs first"
        if self.suspect is not None and self.suspect.block is None:
            return f"{self.suspect.sentence}; with that, theory and networks agree"
        if self.suspect is None:
            whats = {one.what for one in self.deviations}
            if EQUAL in whats:
                return f"{where}; as blocks are copies"
            if DRAWS in whats:
                return f"{where}; as matrices are no draws"
            if self.unstated:
                return f"{where}: the theory of what was read does not explain it; say what is expected"
            more = ", but what is not modelled may" if self.gaps else ""
            return f"{where}; no single change of the list restores agreement{more}"
        return f"{where}: {self.suspect.sentence}; with that, theory and networks agree"

    def __repr__(self) -> str:
        return self.summary()

    def assert_healthy(self) -> None:
        """Raise an ``AssertionError`` with the summary unless the verdict is "healthy".

        Raises:
            AssertionError: the verdict is "departs" or "undecided"; its text is the summary.
        """
        if self.verdict != HEALTHY:
            raise AssertionError(self.summary())

    def to_dict(self) -> dict[str, Any]:
        """Plain values and tables, for JSON.

        Returns:
            ``module``, ``verdict``, ``source``, ``expected`` (text form); ``deviations``, each with ``what``,
            ``blocks`` and ``sentence``; ``outcome``, ``first_block`` and ``suspect`` of the networks;
            ``read``, as of :meth:`Reading.to_dict`; ``table``, that of the verification; with a first step
            ``step``: its ``outcome`` in words, and ``table``.
        """
        step = {} if self.step is None else {"step": {"outcome": self.step.words(), "table": self.step.table}}
        return {
            "module": self.probe.name,
            "verdict": self.verdict,
            "source": self.source,
            "expected": str(self.expected),
            "deviations": [
                {"what": one.what, "blocks": list(one.layers), "sentence": one.sentence}
                for one in self.deviations
            ],
            "outcome": self._outcome,
            "first_block": self.first_block,
            "suspect": None if self.suspect is None else self.suspect.sentence,
            "read": self.reading.to_dict(),
            "table": self.verification.table,
            **step,
        }

    def write_html(self, path: str | Path) -> Path:
        """Write the audit as one page that reads offline; returns its path.

        Args:
            path: of the file; one that is there is replaced.

        Returns:
            the path.

        Raises:
            InputError: it cannot be written.
        """
        departures = [str(one) for one in self.deviations]
        if self._contradicted:
            departures.append(self._departure())
        title = f"Audit of {self.probe.name}: {self.verdict}"
        step = "" if self.step is None else self.step.words()
        parts = self.source, self.expected, departures, self.verification, self.probe, self.reading, step
        return write_file(path, page(title, *parts))
