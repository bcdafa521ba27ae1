"""The outcome of a verification: its rows, its verdict, and what it cannot see."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from itertools import count
from math import ceil, isfinite, log, log2
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..base.quantities import QUANTITIES
from ..spec.architecture import Architecture
from .rows import gate_width

if TYPE_CHECKING:
    from ..montecarlo.ensemble import Ensemble

#: columns of a notebook's table
SHOWN = ["quantity", "stream", "layer", "theory", "estimate", "se", "z", "relative_error", "gate", "verdict"]

#: k beyond which a verification decides nothing, as too few networks make anything agree; and the logarithm
#: beyond which a row that may be off by so much counts as one that would pass anything
LARGEST_K, TOOTHLESS = 6.0, log(2)

#: largest allowance, on the logarithm, at the width that is proposed: less proposes larger networks
PROPOSED = 0.05

AGREES, WITHIN_WIDTH, UNDECIDED, DISAGREES = "agrees", "agrees within width", "undecided", "disagrees"


@dataclass(frozen=True, repr=False)
class Verification:
    """The outcome of :func:`verify`.

    Attributes:
        arch: what was verified.
        table: one row for each layer, stream and quantity, with the columns below.
        drift: the mean difference over layers of each stream and quantity (:func:`.drift.drift`).
        threshold: k, in standard errors.
        theory: "pair", "positions" or "sampled".
        ensemble: the networks (:class:`~spannorm_theory.Ensemble`).
        judged: the architecture whose theory it is, where it is not that of ``arch``.
        left_out: lines on what the theory leaves out of these rows, with its reason and what has it.

    Columns:
        placement, scaling, depth, width, tokens, layer, stream, quantity: as of ``predict``.
        theory, log_theory, estimate: the prediction, its natural logarithm, and the mean over networks.
        se: standard error of the mean, over networks.
        networks: how many.
        z: difference in standard errors.
        relative_error: difference over the theory.
        allowance: what a model of finite width may differ by.
        low, high: bounds; NaN where there are none.
        outside: networks beyond them by more than the allowance and their own fluctuation.
        gate: share of the gate that the difference uses.
        detectable: the smallest relative error, or of cosines and ranks the smallest difference, that would
            be off.
        verdict: "ok", "within width", "off", "out of bounds", "rare" or "not predicted".

    Example:
        >>> import spannorm_theory as st
        >>> result = st.verify("pre-norm depth=2 width=64 heads=2 tokens=8", networks=40, progress=False)
        >>> result.verdict, len(result.failures)
        ('agrees', 0)
    """

    arch: Architecture
    table: pd.DataFrame
    drift: pd.DataFrame
    threshold: float
    theory: str
    ensemble: Ensemble
    judged: Architecture | None = None
    left_out: tuple[str, ...] = ()

    @property
    def failures(self) -> pd.DataFrame:
        """The rows that contradict the theory: "off" or "out of bounds"."""
        return self.table[self.table["verdict"].isin(["off", "out of bounds"])]

    @property
    def drifting(self) -> pd.DataFrame:
        """The rows of ``drift`` that contradict the theory."""
        return self.drift[~(self.drift["gate"] <= 1)]

    @property
    def verdict(self) -> str:
        """One of AGREES; WITHIN_WIDTH, where a difference is beyond the standard errors and not beyond what
        the width allows; UNDECIDED, with too few networks; and DISAGREES."""
        if not self.failures.empty or not self.drifting.empty:
            return DISAGREES
        if self.threshold > LARGEST_K:
            return UNDECIDED
        within = (self.table["verdict"] == "within width").any() or self.toothless
        return WITHIN_WIDTH if within else AGREES

    @property
    def passed(self) -> bool:
        """Whether the verdict is that theory and networks agree, within width or better."""
        return self.verdict in (AGREES, WITHIN_WIDTH)

    @property
    def untested(self) -> int:
        """Rows whose mean is carried by events too rare for this number of networks."""
        return int((self.table["verdict"] == "rare").sum())

    @property
    def toothless(self) -> int:
        """Squared norms that would pass if they were off by a factor of 2, at this width and number of
        networks."""
        logarithmic = self.table["quantity"].map(lambda name: QUANTITIES[name].logarithmic)
        tested = ~self.table["verdict"].isin(["rare", "not predicted"])
        return int((np.log1p(self.table["detectable"]) > TOOTHLESS)[logarithmic & tested].sum())

    @property
    def networks_needed(self) -> int:
        """Networks with which k is at most ``LARGEST_K``."""
        return next(n for n in count(3) if gate_width(n, len(self.table)) <= LARGEST_K)

    @property
    def width_needed(self) -> int:
        """The width, a power of two times this one, at which no allowance of a stream's second moment or of
        its gradient's is above ``PROPOSED``; they fall as 1/width."""
        of_streams = self.table["quantity"].isin(["variance", "grad_variance", "stream_change"])
        largest = float(self.table.loc[of_streams, "allowance"].max())
        return int(self.arch.width * 2 ** max(1, ceil(log2(largest / PROPOSED))))

    def worst(self) -> pd.DataFrame:
        """The row with the largest use of its gate for each quantity and stream.

        Returns:
            rows of ``table``, without those that are rare or not predicted.

        Example:
            >>> import spannorm_theory as st
            >>> result = st.verify("pre-norm depth=2 width=64 heads=2 tokens=8", networks=40, progress=False)
            >>> len(result.worst()) == len(result.table[["stream", "quantity"]].drop_duplicates())
            True
        """
        tested = self.table[~self.table["verdict"].isin(["rare", "not predicted"])]
        gates = tested["gate"].fillna(np.inf)  # undefined where rounding is all that networks have
        index = gates.groupby([tested["quantity"], tested["stream"]], sort=False).idxmax()
        return tested.loc[index].reset_index(drop=True)

    def summary(self) -> str:
        """One line for each quantity, lines on what limits the test, and the verdict.

        Returns:
            text of several lines, which ``print(result)`` shows, too.

        Example:
            >>> import spannorm_theory as st
            >>> result = st.verify("pre-norm depth=2 width=64 heads=2 tokens=8", networks=40, progress=False)
            >>> result.summary().splitlines()[0].partition(": ")[2]
            'pair theory against 40 networks (implicit engine), k = 4.8'
        """
        of = "" if self.judged is None else f" of {self.judged}"
        lines = [
            f"{self.arch}: {self.theory} theory{of} against {self.ensemble.networks} networks "
            f"({self.ensemble.engine} engine), k = {self.threshold:.1f}"
        ]
        for row in self.worst().to_dict("records"):
            name = f"{row['quantity']} [{row['stream']}]"
            lines.append(
                f"  {name:36s} worst at layer {row['layer']:4d}: theory {row['theory']:10.4g}  "
                f"estimate {row['estimate']:10.4g}  z {row['z']:6.1f}  "
                f"error {_share(row['relative_error'])}  gate used {row['gate']:5.0%}  {row['verdict']}"
            )
        for row in self.drifting.to_dict("records"):
            lines.append(
                f"  {row['quantity']} [{row['stream']}] is off on average over {row['layers']} layers: "
                f"{row['difference']:+.3g}, z {row['z']:.1f}"
            )
        return "\n".join([*lines, *self._limits(), f"  {self.outcome()}"])

    def __repr__(self) -> str:
        """The summary, in place of all numbers."""
        return self.summary()

    def _limits(self) -> list[str]:
        """Lines on the rows that this verification cannot judge."""
        lines, n = [f"  not predicted: {line}" for line in self.left_out], self.ensemble.networks
        if self.untested:
            lines.append(
                f"  {self.untested} of {len(self.table)} rows cannot be tested with {n} networks: too few "
                "rows of their attention are more than a maximum, and the mean is carried by such near ties"
            )
        if self.toothless:
            lines.append(
                f"  {self.toothless} of {len(self.table)} rows would pass if they were off by a factor of 2: "
                f"{self._sizes()} is large; width={self.width_needed} would judge them"
            )
        return lines

    def outcome(self) -> str:
        """The verdict with its reason.

        Returns:
            one line, in capitals what ``verdict`` says.

        Example:
            >>> import spannorm_theory as st
            >>> result = st.verify("pre-norm depth=2 width=64 heads=2 tokens=8", networks=40, progress=False)
            >>> result.outcome().split(":")[0]
            'AGREES'
        """
        if self.verdict == DISAGREES:
            drifting = f", {len(self.drifting)} quantities drift" if len(self.drifting) else ""
            return f"DISAGREES: {len(self.failures)} of {len(self.table)} rows{drifting}"
        if self.verdict == UNDECIDED:
            return (
                f"UNDECIDED: with {self.ensemble.networks} networks only {self.threshold:.1f} standard "
                f"errors would count; networks={self.networks_needed} or more decide"
            )
        if self.verdict == AGREES:
            return "AGREES"
        rows = self.table[self.table["verdict"] == "within width"]
        if rows.empty:
            tested = len(self.table) - self.toothless
            return f"AGREES WITHIN WIDTH: on {tested} of {len(self.table)} rows; the others are hardly tested"
        largest = rows.loc[[rows["relative_error"].abs().fillna(0).idxmax()]].to_dict("records")[0]
        share, apart = largest["relative_error"], largest["estimate"] - largest["theory"]
        difference = f"{share:+.1%}" if isfinite(share) else f"{apart:+.2g}"  # a theory of zero has no share
        return (
            f"AGREES WITHIN WIDTH: {len(rows)} of {len(self.table)} rows differ by more than "
            f"{self.threshold:.1f} standard errors, as {self._sizes()} allows, {largest['quantity']} "
            f"[{largest['stream']}] by {difference}; width={self.width_needed} judges "
            "closer"
        )

    def _sizes(self) -> str:
        return f"L/d = {self.arch.depth}/{self.arch.width} = {self.arch.depth / self.arch.width:.2g}"

    def _repr_html_(self) -> str:
        worst = self.worst()[SHOWN].to_html(index=False, float_format="{:.4g}".format)
        return f"<p>{escape(f'{self.arch}: {self.outcome()}')}. Worst layer of each quantity:</p>{worst}"


def _share(relative_error: float) -> str:
    """A relative error in per cent; of a theory of zero there is none."""
    return f"{relative_error:+7.1%}" if isfinite(relative_error) else "      -"
