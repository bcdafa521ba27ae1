"""Where networks depart from a theory, and the single change of it that restores agreement."""

from __future__ import annotations

from collections.abc import Sequence

from ..base.errors import SpannormError
from ..models.model import Gap
from ..prediction.predict import predict_profiles
from ..spec.architecture import Architecture
from ..spec.placements import PLACEMENTS
from ..verification.outcome import DISAGREES, Verification
from .identify import held
from .probe import Probe
from .suspects import Suspect, suspects


def first_departure(verification: Verification) -> int | None:
    """The first block that departs from the theory: behind which the stream does; else, the one in which a
    matrix's gradient departs most. None where only the gradient of the stream does."""
    table = verification.failures
    boundary = table[table["quantity"].isin(["variance", "token_cosine", "rank_residual"])]["layer"] - 1
    within = table[table["quantity"].isin(["layer_cosine", "branch_share"])]["layer"]
    layers = [*boundary, *within]
    if layers:
        return max(0, int(min(layers)))
    matrices = table[table["quantity"] == "weight_grad_norm"]
    worst = matrices.sort_values("gate")["layer"]
    return None if worst.empty else int(worst.iloc[-1])


def explanation(
    arch: Architecture,
    verification: Verification,
    measured: Probe,
    gaps: Sequence[Gap],
    norms_known: bool,
) -> Suspect | None:
    """The single change that restores agreement best, whose placement stays registered; None where none
    does."""
    best, least = None, float("inf")
    with PLACEMENTS.temporarily():
        for suspect in suspects(arch, first_departure(verification) or 0, norms_known):
            try:
                found = held(suspect.arch, predict_profiles(suspect.arch, "auto", False), measured, gaps)
            except SpannormError:  # the theory declines it
                continue
            misfit = float(found.worst()["gate"].pow(2).mean())
            if found.verdict != DISAGREES and misfit < least:
                best, least = (suspect, suspect.arch.definition), misfit
    if best is None:
        return None
    PLACEMENTS.add(best[1], replace=True)
    return best[0]
