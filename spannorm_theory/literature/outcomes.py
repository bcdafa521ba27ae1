"""The outcome of a check, an estimate beside what was expected, and that of a claim, with its verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .check import Check
from .claim import Claim
from .fact import Fact


@dataclass(frozen=True)
class Checked:
    """The outcome of a check: the expected region, the estimate, and whether it lies there."""

    check: Check
    low: float
    high: float
    estimate: float
    error: float
    networks: int
    outcome: str

    @property
    def expected(self) -> str:
        """The region that the check accepts, in words."""
        low, high = np.isfinite(self.low), np.isfinite(self.high)
        if low and high:
            text = f"{self.low:.6g} to {self.high:.6g}"
        else:
            text = f"above {self.low:.4g}" if low else f"below {self.high:.4g}"
        return ("not " if self.check.negated else "") + text

    @property
    def settings(self) -> dict[str, Any]:
        """What is measured, and against what, as plain values."""
        check = self.check
        archs = list(dict.fromkeys(str(term.arch) for term in check.measure.terms))
        return {
            "role": check.role,
            "measure": check.text,
            "architecture": archs[0] if len(archs) < 3 else f"{archs[0]} … {archs[-1]}",
            "relation": ("not " if check.negated else "") + check.relation,
            "networks": self.networks,
            "seed": check.seed,
        }

    @property
    def row(self) -> dict[str, Any]:
        """The check and its outcome as plain values."""
        return self.settings | {
            "low": self.low,
            "high": self.high,
            "estimate": self.estimate,
            "se": self.error,
            "outcome": self.outcome,
        }


@dataclass(frozen=True)
class Outcome:
    """A claim with its evidence and the verdict that follows from it."""

    claim: Claim
    fact: Fact | None
    checked: tuple[Checked, ...]
    verdict: str

    @property
    def changed(self) -> bool:
        """Whether the verdict differs from the recorded one."""
        return self.verdict != self.claim.verdict

    def to_dict(self) -> dict[str, Any]:
        """The outcome as plain values."""
        claim, fact = self.claim, self.fact
        return {
            "id": claim.id,
            "sentence": claim.sentence,
            "source": claim.source,
            "kind": claim.kind,
            "verdict": self.verdict,
            "recorded": claim.verdict,
            "changed": self.changed,
            "conditions": claim.conditions,
            "instead": claim.instead,
            "theory": None
            if fact is None
            else {"holds": fact.holds, "formula": fact.formula, "numbers": dict(fact.numbers)},
            "checks": [found.row | {"reason": found.check.reason} for found in self.checked],
        }
