r"""Positions as a coordinate: unlike tokens at any length, without sampling (T10.6 to T10.8).

A few dozen positions stand for all (:mod:`spannorm_theory.layers.position_grid`), and attention is averaged
in closed form (:mod:`spannorm_theory.layers.attention_positions`): milliseconds a block, whatever the number
of tokens, which building the grid grows with. The theory with sampled heads (:mod:`.sampled`), where that can
run, is what it is held against.
"""

from __future__ import annotations

from math import log

import numpy as np
from numpy.typing import NDArray

from ..base.errors import AssumptionError, PositionsError
from ..base.quantities import SPECTRAL, Key
from ..base.waiting import blocks_bar
from ..gaussian.closed_forms import Array
from ..gaussian.rank_metrics import log_rank_residual
from ..layers.attention_positions import NOTHING, LeftOut
from ..layers.position_grid import position_grid
from ..moments.position_tokens import PositionTokens
from ..spec.architecture import Architecture
from .boundary import input_gram, input_pair_variance, repeats
from .gram_run import GramRun
from .omissions import QUERIES_AND_KEYS, UNBOUNDED, leave_out, settle
from .prediction import Prediction
from .profiles import CROSSED
from .room import fits, rotated, sampled_seconds

#: what differences from the theory with sampled heads grow by, for each kind of what is left out, in blocks
#: so far: factors on what they are without, forward and backward
FORWARD, BACKWARD = LeftOut(250, 0, 0, 0), LeftOut(150, 0.5, 5, 10)

#: that difference, by quantity or matrix, of logarithms for squared norms and of cosines as they are, with
#: its growth: one to three times the root mean square that docs/benchmarks.md has (section "Causal stacks")
ERRORS: dict[str, tuple[float, LeftOut]] = {
    "variance": (0.001, FORWARD),
    "token_cosine": (0.004, FORWARD),
    "layer_cosine": (0.001, FORWARD),
    "branch_share": (0.004, FORWARD),
    "load_imbalance": (0.005, FORWARD),
    "loss": (0.001, FORWARD),
    "logit_second_moment": (0.001, FORWARD),
    "rank_residual": (0.01, BACKWARD),
    "grad_variance": (0.01, BACKWARD),
    "grad_token_cosine": (0.001, BACKWARD),
    "attn.query": (0.03, BACKWARD),
    "attn.key": (0.03, BACKWARD),
    "weight_grad_norm": (0.01, BACKWARD),
    "global_grad_norm": (0.01, BACKWARD),
}

#: standard error of a logarithm, a factor of 1.4, beyond which a row is left out, and the whole stack where
#: that is its stream's gradient; and what is left out of a branch where it is so
LIMIT = log(1.4)
REASONS = (
    "keys that are alike make up {:.0%} of what attention puts out",
    "logits have a second moment of {:.2g}",
    "second moments of keys differ by {:.0%}",
    "tokens have a squared cosine of {:.2g} that rotary positions turn away",
)

#: least coordinates of a head: in narrower ones the cosines of queries vary beyond first order; and behind
#: norms over heads, whose logits are bounded, not Gaussian; and of a latent
NARROW, NARROW_NORMED, NARROW_LATENT = 8, 16, 64

#: other tokens that have the id of one, in the mean, at most: repeated ids are no smooth function of the
#: position
REPEATED = 0.5

#: least base of rotary positions: angles of shorter periods are no mean coherence
SHORT = 1000.0

#: least 1 - rho from which gradients of queries and keys, which go as its square, keep their digits; and
#: token cosine, and its product with that of the gradient, up to which rotary positions are a mean coherence
COLLAPSED, ALIKE, IN_COMMON = 1e-9, 0.9, 0.1


def declined(arch: Architecture) -> str:
    """Why positions cannot be a coordinate of an architecture; empty where they can."""
    narrow = NARROW_NORMED if arch.qk_norm or arch.qkv_norm else NARROW
    if arch.sinks:
        return "sinks=True is derived with sampled heads alone"
    if arch.attention_dropout:
        return f"attention_dropout={arch.attention_dropout:g} is derived with sampled heads alone"
    if arch.head_size < narrow:
        return f"heads of {arch.head_size} coordinates are narrower than the {narrow} that are wide here"
    for name, size in (("latent_keys", arch.latent_keys), ("latent_queries", arch.latent_queries)):
        if size is not None and size < NARROW_LATENT:
            return f"{name}={size} is less than {NARROW_LATENT}, and derived with sampled heads alone"
    if arch.loss == "mean" and (arch.latent_queries is not None or _normed_heads(arch)):
        # a key then collects gradients that add up along itself, which a norm over its head takes away
        return (
            "loss='mean', one gradient for all tokens, behind norms over heads or latents of queries is "
            "derived with sampled heads alone"
        )
    if arch.positions == "rope" and arch.rotary_base < SHORT:
        return (
            f"rotary_base={arch.rotary_base:g} is below {SHORT:g}: its angles turn too fast for a coherence"
        )
    if arch.reads_ids and arch.tokens * arch.token_law.collision > REPEATED:
        return f"ids of vocabulary={arch.vocabulary} repeat too often to be a smooth function of the position"
    return ""


def _normed_heads(arch: Architecture) -> bool:
    """Whether queries and keys have norms over each head, of the architecture's or of the placement's."""
    own = (arch.qk_norm or arch.qkv_norm) and arch.qk_norm_over == "head"
    return own or any(branch.normed for trace, _ in arch.wirings[0] for branch in trace.branches)


def carries(arch: Architecture) -> bool:
    """Whether positions can be a coordinate of an architecture, and a grid has enough of them."""
    if declined(arch) or not fits(arch, "positions"):
        return False
    try:
        position_grid(arch.tokens, arch.narrowest, arch.mask == "causal")
    except PositionsError:
        return False
    return True


def predict_positions(arch: Architecture, progress: bool = False) -> Prediction:
    """Profiles with positions as a coordinate. Metrics of spectra are not predicted (NaN). ``progress`` says
    whether a bar is shown after two seconds.

    Raises:
        AssumptionError: the architecture is not of this kind (:func:`declined`), its logits are too large,
            its window needs too many positions, what is left out grows too large, or a moment left float64's
            range.
    """
    advice = ""
    if arch.exchangeable:
        advice = "; tokens are alike here, which theory='pair' is for"
    elif fits(arch, "sampled"):
        advice = f"; theory='sampled' takes about {sampled_seconds(arch):.2g} s for it"
    else:
        advice = "; theory='sampled' has no memory for as many tokens, and networks of few blocks may tell"
    if reason := declined(arch):
        raise AssumptionError(f"{reason}{advice}")
    try:
        grid = position_grid(arch.tokens, arch.narrowest, arch.mask == "causal")
        tokens = PositionTokens(arch, grid)
        with (
            np.errstate(over="ignore", invalid="ignore"),  # what leaves float64's range is refused by name
            blocks_bar(2 * arch.depth, progress) as bar,
        ):
            start = input_gram(tokens), input_pair_variance(arch)
            run = GramRun(tokens, *start, at_block=bar.update)
        _require_near(run.left_out)
    except PositionsError as error:
        raise PositionsError(f"{error}{advice}", error.reached) from None
    profiles = dict(run.profiles)
    spectra: list[Key] = []
    for stream in map(str, range(arch.definition.streams)):
        q, rho = np.exp(profiles[stream, "variance"]), profiles[stream, "token_cosine"]
        with np.errstate(invalid="ignore", divide="ignore"):
            profiles[stream, "rank_residual"] = log_rank_residual(q, q * (1 - rho), arch.tokens)
        profiles.update({(stream, metric): np.zeros_like(q) for metric in SPECTRAL})
        spectra += [(stream, metric) for metric in SPECTRAL]
    found = leave_out(arch, profiles, spectra, "positions as a coordinate have no spectra", sampled=True)
    weights = [key for key in profiles if key[1] == "weight_grad_norm"]
    if arch.crossed:
        found += leave_out(arch, profiles, weights, CROSSED, sampled=True)
    found += leave_out(arch, profiles, QUERIES_AND_KEYS, UNBOUNDED, run.unbounded)
    for reason, where in _alike(arch, profiles):
        found += leave_out(arch, profiles, QUERIES_AND_KEYS, reason, where, sampled=True)
    profiles.update(run.logged(repeats(tokens), profiles))
    tables = profiles, run.positions
    errors, apart = ({key: _error(key, x, run.left_out) for key, x in table.items()} for table in tables)
    reason = f"{_most(run.left_out)[1]}, and leave it uncertain by more than a factor of {np.exp(LIMIT):.2g}"
    beyond = {key: error > LIMIT for key, error in errors.items()}
    found += leave_out(arch, profiles, beyond, reason, beyond, sampled=True)
    places = grid.positions + 1
    left_out = settle(profiles, found)
    return Prediction(
        arch, profiles, "positions", run.undecided, errors, places, run.positions, apart, left_out
    )


def _alike(arch: Architecture, profiles: dict[Key, Array]) -> list[tuple[str, NDArray[np.bool_]]]:
    """Blocks whose tokens are too alike for gradients of queries and keys, (depth,), by reason."""
    streams = [str(s) for s in range(arch.definition.streams)]
    forward = np.max([profiles[s, "token_cosine"][:-1] for s in streams], axis=0)
    found = [(f"tokens are one vector there, up to 1 - rho = {COLLAPSED:g}", ~(1 - forward > COLLAPSED))]
    turned = rotated(arch)
    if turned.any():
        back = np.nanmax([profiles[s, "grad_token_cosine"][1:] for s in streams], axis=0)
        reason = (
            "rotary positions turn away from each other tokens that are alike there: their cosine is above "
            f"{ALIKE:g}, or its product with that of their gradients above {IN_COMMON:g}"
        )
        found.append((reason, turned & ~((forward < ALIKE) & (forward * back < IN_COMMON))))
    return found


def _most(left_out: Array) -> tuple[float, str]:
    """Growth of gradients' errors through the stack, and what is left out of the most of it."""
    _, growth = ERRORS["grad_variance"]
    most = left_out.max(axis=0)
    at = int(np.argmax(most * growth))
    return float(most @ growth), REASONS[at].format(most[at])


def _require_near(left_out: Array) -> None:
    """Refuse a stack whose gradients are uncertain by more than ``LIMIT``.

    Raises:
        PositionsError: naming what is left out of the most of it.
    """
    grown, reason = _most(left_out)
    if (found := ERRORS["grad_variance"][0] * (1 + grown)) > LIMIT:
        raise PositionsError(
            f"{reason}, and positions as a coordinate leave gradients uncertain by a "
            f"factor of {np.exp(found):.2g}, beyond {np.exp(LIMIT):.2g}; predict a shallower stack"
        )


def _error(key: Key, profile: Array, left_out: Array) -> Array:
    """Standard errors of a profile, whose layers come first; none of the input. Forward it is the blocks in
    front that add to them, backward all."""
    stream, quantity = key
    error, growth = ERRORS.get(stream, ERRORS.get(quantity, (np.nan, NOTHING)))
    forward = quantity in ("variance", "token_cosine")
    each = np.maximum.accumulate(np.vstack([np.zeros(len(growth)), left_out])) @ growth
    grown = each if forward else np.full(len(profile), each[-1])
    found = error * (1 + grown.reshape(-1, *[1] * (profile.ndim - 1))) + np.zeros_like(profile)
    if forward:
        found[0] = 0
    return found
