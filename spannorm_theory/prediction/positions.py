r"""Positions as a coordinate: causal stacks of any length, without sampling (T10.6 to T10.8).

A few dozen positions stand for all (:mod:`spannorm_theory.layers.position_grid`), and attention is averaged
in closed form (:mod:`spannorm_theory.layers.attention_positions`): milliseconds a block, whatever the number
of tokens. The theory with sampled heads (:mod:`.sampled`), where that can run, is what it is held against.
"""

from __future__ import annotations

import numpy as np

from ..base.errors import AssumptionError, PositionsError
from ..base.quantities import SPECTRAL, Key
from ..gaussian.closed_forms import Array
from ..gaussian.rank_metrics import log_rank_residual
from ..layers.position_grid import position_grid
from ..moments.position_tokens import PositionTokens
from ..spec.architecture import Architecture
from .boundary import input_gram, input_pair_variance
from .gram_run import GramRun
from .prediction import Prediction

#: root mean square difference from the theory with sampled heads, by quantity or matrix: of logarithms for
#: squared norms, of cosines as they are. Forty designs of 8 blocks, 64 and 128 tokens, width 1024 and logit
#: variances 1 and 4; gradients of queries and keys are furthest off where tokens have collapsed
ERRORS = {
    "variance": 0.003,
    "token_cosine": 0.002,
    "layer_cosine": 0.001,
    "branch_share": 0.005,
    "rank_residual": 0.005,
    "load_imbalance": 0.005,
    "grad_variance": 0.01,
    "grad_token_cosine": 0.001,
    "attn.query": 0.06,
    "attn.key": 0.06,
    "weight_grad_norm": 0.015,
}


def declined(arch: Architecture) -> str:
    """Why positions cannot be a coordinate of an architecture; empty where they can."""
    if arch.mask != "causal":
        return f"positions are a coordinate under a causal mask, not with mask={arch.mask!r}"
    if arch.attention_dropout:
        return f"attention_dropout={arch.attention_dropout:g} is derived with sampled heads alone"
    return ""


def predict_positions(arch: Architecture) -> Prediction:
    """Profiles with positions as a coordinate. Metrics of spectra are not predicted (NaN).

    Raises:
        AssumptionError: the architecture is not of this kind (:func:`declined`), its logits are too large,
            its window needs too many positions, or a moment left float64's range.
    """
    advice = f"theory='sampled' takes about {sampled_seconds(arch):.2g} s for it"
    if reason := declined(arch):
        raise AssumptionError(f"{reason}; {advice}")
    try:
        grid = position_grid(arch.tokens, arch.window)
        tokens = PositionTokens(arch, grid)
        with np.errstate(over="ignore", invalid="ignore"):  # what leaves float64's range is refused by name
            run = GramRun(tokens, input_gram(tokens), input_pair_variance(arch))
    except PositionsError as error:
        raise AssumptionError(f"{error}; {advice}") from None
    profiles = dict(run.profiles)
    for stream in map(str, range(arch.definition.streams)):
        q, rho = np.exp(profiles[stream, "variance"]), profiles[stream, "token_cosine"]
        with np.errstate(invalid="ignore", divide="ignore"):
            profiles[stream, "rank_residual"] = log_rank_residual(q, q * (1 - rho), arch.tokens)
        profiles.update({(stream, metric): np.full_like(q, np.nan) for metric in SPECTRAL})
    errors, apart = ({key: _error(key, x) for key, x in table.items()} for table in (profiles, run.positions))
    places = grid.positions + 1
    return Prediction(arch, profiles, "positions", run.undecided, errors, places, run.positions, apart)


def _error(key: Key, profile: Array) -> Array:
    """Standard errors of a profile, whose layers come first; none of the input."""
    stream, quantity = key
    error = np.full_like(profile, ERRORS.get(stream, ERRORS.get(quantity, np.nan)))
    if quantity in ("variance", "token_cosine"):
        error[0] = 0
    return error


def sampled_seconds(arch: Architecture) -> float:
    """Processor seconds that the theory with sampled heads takes, roughly: 0.2 a block at 128 tokens, as the
    power 2.6 of these, and three times that with rotary positions."""
    rotary = 3 if arch.positions == "rope" else 1
    return float(0.2 * rotary * arch.depth * (arch.tokens / 128) ** 2.6)
