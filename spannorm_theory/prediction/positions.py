r"""Positions as a coordinate: causal stacks of any length, without sampling (T11).

A few dozen positions stand for all (:mod:`spannorm_theory.layers.position_grid`), and attention is averaged in
closed form (:mod:`spannorm_theory.layers.attention_positions`): milliseconds a block, whatever the number of
tokens. What it is checked by is the theory with sampled heads (:mod:`.sampled`) where that can run; its own error,
``ERRORS``, is the largest difference found between the two over the designs of docs/benchmarks.md.
"""

from __future__ import annotations

import numpy as np

from ..base.errors import AssumptionError
from ..base.quantities import QUANTITIES, SPECTRAL, Key
from ..gaussian.closed_forms import Array
from ..gaussian.rank_metrics import log_rank_residual
from ..layers.position_grid import position_grid
from ..moments.tokens import PositionTokens
from ..spec.architecture import Architecture
from .boundary import input_gram, input_pair_variance
from .gram_run import GramRun
from .prediction import Prediction


def declined(arch: Architecture) -> str:
    """Why positions cannot be a coordinate of an architecture; empty where they can."""
    if arch.mask != "causal":
        return "positions are a coordinate under a causal mask alone"
    if arch.attention_dropout:
        return "dropout of attention weights is derived with sampled heads alone"
    return ""


def predict_positions(arch: Architecture) -> Prediction:
    """Profiles with positions as a coordinate.

    Raises:
        AssumptionError: the architecture is not of this kind (:func:`declined`), its logits are too large, its
            window needs too many positions, or a moment left float64's range.
    """
    if reason := declined(arch):
        raise AssumptionError(f"{reason}; use theory='sampled', or simulate(...)")
    grid = position_grid(arch.tokens, arch.window)
    tokens = PositionTokens(arch, grid)
    run = GramRun(tokens, input_gram(tokens), input_pair_variance(arch))
    profiles = dict(run.profiles)
    for stream in map(str, range(arch.definition.streams)):
        q, rho = np.exp(profiles[stream, "variance"]), profiles[stream, "token_cosine"]
        with np.errstate(invalid="ignore", divide="ignore"):
            profiles[stream, "rank_residual"] = log_rank_residual(q, q * (1 - rho), arch.tokens)
        profiles.update({(stream, metric): np.full_like(q, np.nan) for metric in SPECTRAL})
    return Prediction(
        arch, profiles, "positions", run.undecided, None, grid.positions + 1, run.positions
    )
