r"""The position-resolved theory with sampled heads: token Grams through a stack and back (T10.1 to T10.4).

Feed-forward branches act entry by entry on the n x n Gram, attention by averages over sampled heads. Exact
for wide streams at any head width and any mask, up to the sampling.

Draws are fixed by the seed and the layer, the same there and back and in every architecture of one shape, so
that differences between architectures are not blurred; layers have draws of their own, as shared ones would
bias at first order in 1/draws. ``BATCHES`` groups of antithetic pairs each run the whole recursion
(:mod:`.gram_run`): the prediction is their mean, with its standard error (T10.4, :mod:`.runs`). Each run
reads its own token ids, where there are any.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ..base.errors import InputError
from ..base.interrupts import Halt
from ..base.quantities import SPECTRAL, Key
from ..base.waiting import blocks_bar
from ..gaussian.closed_forms import Array
from ..gaussian.rank_metrics import rank_metrics_gram
from ..moments.sampled_tokens import SampledTokens
from ..spec.architecture import Architecture
from .boundary import input_gram, repeats
from .gram_run import GramRun
from .omissions import QUERIES_AND_KEYS, TOTAL, UNBOUNDED, leave_out, settle
from .prediction import Prediction
from .profiles import LARGEST_EXCESS, MASKED, SPREAD
from .runs import at_no_excess, average, balanced_ids

#: independent recursions behind a prediction; with fewer its standard error is itself uncertain
BATCHES = 8


@dataclass(frozen=True)
class Resolved(Prediction):
    """A prediction with its positions and its own sampling error.

    Attributes:
        grams: token Grams, (tokens, tokens), by the keys of ``by_position`` and then by layer, at the
            requested layers; Grams of the gradient are divided by its largest mean second moment over the
            streams.
    """

    grams: dict[Key, dict[int, Array]] = field(default_factory=dict)


def predict_gram(arch: Architecture, draws: int = 32, seed: int = 0, progress: bool = False) -> Resolved:
    """Profiles of the position-resolved theory with sampled heads.

    Args:
        draws: attention heads sampled in each layer, a multiple of ``2 * BATCHES``.
        progress: whether a bar is shown after two seconds.

    Raises:
        InputError: ``draws`` is not such a number.
        AssumptionError: a moment left float64's range.
    """
    return resolve(arch, draws=draws, seed=seed, progress=progress)


def resolve(
    arch: Architecture, draws: int = 32, seed: int = 0, layers: Sequence[int] = (), progress: bool = False
) -> Resolved:
    """Profiles of the position-resolved theory, and every position.

    Args:
        draws, seed, progress: as in :func:`predict_gram`, which has the errors too.
        layers: boundaries whose Grams are kept.
    """
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 1 or draws % (2 * BATCHES):
        raise InputError(f"draws must be a positive multiple of {2 * BATCHES}, got {draws!r}")
    ids, excess = None, np.zeros(BATCHES)
    if arch.reads_ids:
        random = np.random.default_rng((seed, arch.depth + 1))
        ids, excess = balanced_ids(arch, BATCHES, random, 2 if arch.crossed else 1)
    draw = [
        SampledTokens((seed, batch), draws // (2 * BATCHES), arch, None if ids is None else ids[batch])
        for batch in range(BATCHES)
    ]
    # small matrix products: BLAS threads would only wait for each other
    blocks = 2 * arch.depth * BATCHES
    with (
        threadpool_limits(1, "blas"),
        ThreadPoolExecutor() as pool,
        Halt() as halt,
        blocks_bar(blocks, progress) as bar,
    ):

        def at_block() -> None:
            halt.check()
            bar.update()

        runs = list(pool.map(lambda tokens: _run(tokens, layers, at_block), draw))
    profiles, errors = average([run.profiles for run in runs], excess)
    unbounded = np.any([run.unbounded for run in runs], axis=0)
    found = leave_out(arch, profiles, QUERIES_AND_KEYS, UNBOUNDED, unbounded)
    found += leave_out(arch, profiles, [TOTAL], UNBOUNDED, bool(unbounded.any()))
    for stream in range(arch.definition.streams):
        spectra = [(str(stream), metric) for metric in SPECTRAL]
        if arch.dropout or arch.attention_dropout:
            found += leave_out(arch, profiles, spectra, MASKED)
        unresolved = np.any([_unresolved(run, stream) for run in runs], axis=0)
        found += leave_out(arch, profiles, spectra, SPREAD, unresolved)

    def first(gram: Array) -> Array:
        return gram[..., : arch.tokens, : arch.tokens]

    positions = [{key: x[:, : arch.tokens] for key, x in run.positions.items()} for run in runs]
    tokens, token_errors = average(positions, excess)
    grams = {
        key: {
            l: at_no_excess(np.array([first(run.grams[key][l]) for run in runs]), excess)[0] for l in layers
        }
        for key in tokens
    }
    undecided = np.mean([run.undecided for run in runs], axis=0)
    places = np.arange(1, arch.tokens + 1)
    left_out = settle(profiles, found)
    return Resolved(
        arch, profiles, "sampled", undecided, errors, places, tokens, token_errors, left_out, grams
    )


def _run(tokens: SampledTokens, layers: Sequence[int], at_block: Callable[[], None]) -> GramRun:
    """One group of draws, with rank metrics. Grams hold what repeated token ids share, so V starts as that of
    Gaussian tokens."""
    with np.errstate(over="ignore", invalid="ignore"):  # what leaves float64's range is refused by name
        run = GramRun(tokens, input_gram(tokens, tokens.ids), 1 / tokens.arch.width, layers, at_block)
    run.profiles.update(run.logged(repeats(tokens, tokens.ids), run.profiles))
    for stream in range(tokens.arch.definition.streams):
        run.profiles.update(_rank_metrics(run, stream))
    return run


def _unresolved(run: GramRun, stream: int) -> NDArray[np.bool_]:
    """Boundaries where V of a stream is too large for its leading order, (depth + 1,)."""
    arch = run.tokens.arch
    excess = arch.tokens * (run.pair_variance[:, stream] - 1 / arch.width) * (2 if arch.experts > 1 else 1)
    return np.asarray(excess > LARGEST_EXCESS)


def _rank_metrics(run: GramRun, stream: int) -> dict[Key, Array]:
    """Rank metrics of a stream; those of spectra are worth something where V is in its leading order."""
    tokens, arch, name = run.tokens, run.tokens.arch, str(stream)
    assert isinstance(tokens, SampledTokens)
    v = np.where(_unresolved(run, stream), 1 / arch.width, run.pair_variance[:, stream])
    own = np.array([state[stream][stream] for state in run.states])[:, : arch.tokens, : arch.tokens]
    found = rank_metrics_gram(own, 1 - run.profiles[name, "token_cosine"], tokens.products(v))
    return {(name, metric): x for metric, x in found.items()}
