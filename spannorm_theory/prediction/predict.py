"""``predict``: the theory that fits an architecture, as a tidy table."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..base import arguments
from ..base.errors import AssumptionError, PositionsError
from ..base.quantities import INPUT, Key, tidy, tidy_positions
from ..gaussian.closed_forms import Array
from ..layers.shown_positions import shown_positions
from ..spec.architecture import Architecture
from ..spec.arguments import architecture
from ..spec.independence import require_independent
from .exchangeable import predict_pair
from .positions import carries, declined, predict_positions
from .prediction import Prediction
from .room import fits, require_predictable, sampled_seconds
from .sampled import predict_gram

#: the theories by name
THEORIES: dict[str, Callable[[Architecture, bool], Prediction]] = {
    "pair": lambda arch, _: predict_pair(arch),
    "positions": predict_positions,
    "sampled": lambda arch, progress: predict_gram(arch, progress=progress),
}

Profiles = dict[Key, Array]

#: tokens up to which heads are sampled where tokens are unlike, as their Grams have spectra, and processor
#: seconds up to which they are; and, in place of positions that do not carry a stack
SAMPLED, QUICK, PATIENCE = 64, 2.0, 10.0


def fitting(arch: Architecture) -> str:
    """The name of the theory that fits an architecture: "pair" where tokens are alike, and so are steps of
    one sequence; else "sampled" for up to ``SAMPLED`` tokens where that takes ``QUICK`` seconds, or where
    there is no other, and beyond "positions"."""
    few = arch.tokens <= SAMPLED
    if arch.exchangeable and not (arch.crossed and few):
        return "pair"
    quick = few and (sampled_seconds(arch) <= QUICK or arch.exchangeable)
    return "sampled" if quick or declined(arch) else "positions"


def predict_profiles(arch: Architecture, theory: str = "auto", progress: bool = False) -> Prediction:
    """Profiles of a theory, of the one that fits the architecture for "auto"; ``progress`` says whether
    those that take long, sampled heads and positions, show a bar.

    Raises:
        UnknownNameError: there is no such theory.
        AssumptionError: the architecture is outside its assumptions, or left float64's range; or "auto" finds
            that positions do not carry it, and that sampled heads take longer than ``PATIENCE``.
    """
    if arguments.choice("theory", theory, ("auto", *THEORIES)) == "auto":
        theory = fitting(arch)
        try:
            return _of(arch, theory, progress)
        except PositionsError:  # logits, a window or a depth that a grid does not carry
            theory = "sampled"
            if not fits(arch, theory) or sampled_seconds(arch) > PATIENCE:
                raise
    return _of(arch, theory, progress)


def _of(arch: Architecture, theory: str, progress: bool) -> Prediction:
    require_independent(arch)
    other = theory == "sampled" and not fits(arch, theory) and carries(arch)
    require_predictable(arch, theory, "theory='positions' takes them all" if other else "")
    return THEORIES[theory](arch, progress)


def predict(
    arch: Architecture | str,
    theory: str = "auto",
    by: str | None = None,
    positions: Sequence[int] | None = None,
) -> pd.DataFrame:
    """Per-layer predictions as a tidy table.

    Source: docs/theory.md, sections 8 to 10.

    Args:
        arch: an architecture, or its text form.
        theory: "pair", for tokens that are alike; "positions", for any number of tokens that a mask, a window
            or rotary positions tell apart; "sampled", for few, which samples attention heads; "auto" takes
            "pair" where it holds, then "sampled" up to 64 tokens where it takes two seconds, then
            "positions"; where those do not hold, "sampled" if that takes seconds, and else the message says
            how long.
        by: "position" for the second moments of streams and gradients at single positions; None for averages
            over tokens.
        positions: those to show, from 1; None for some that show all.

    Returns:
        a row for each layer, stream and quantity. Moments are per coordinate, weight gradients squared
        Frobenius norms; the loss gradient at the model's output has second moment 1, that of a cross-entropy
        its own. NaN is what the theory does not predict.

    Columns:
        placement, scaling, depth, width, tokens: of the architecture.
        layer: 0, the embedding, to ``depth``; of a weight gradient its block.
        position: from 1, with ``by="position"`` alone.
        stream: "0", "1", ..., or the name of the matrix whose gradient it is.
        quantity: its name, of those of docs/notation.md.
        value: the number, 0 or infinite beyond float64's range.
        log_value: its natural logarithm, of any size.
        theory: "pair", "positions" or "sampled".
        se: the theory's own standard error (of the logarithm for squared norms); NaN of "pair".

    Raises:
        UnknownNameError: there is no such theory.
        InputError: something else than an architecture, positions that the sequence does not have, or a size
            that does not fit into memory.
        AssumptionError: the architecture is outside the theory's assumptions, or left float64's range.

    Example:
        >>> import spannorm_theory as st
        >>> table = st.predict("post-norm depth=2 width=64 heads=2 tokens=8")
        >>> rows = table.query("quantity == 'grad_variance' and stream == '0'")
        >>> rows["value"].round(3).tolist()
        [1.408, 1.097, 1.0]
    """
    arch = architecture(arch)
    shown = shown_positions(arch, by, positions)
    prediction = predict_profiles(arch, theory, progress=True)
    if shown is not None:
        values, errors = at_positions(prediction, shown)
        extra = {"se": errors} if errors else None
        table = tidy_positions(arch.labels, shown.tolist(), values, extra, theory=prediction.theory)
        table.attrs["left_out"] = prediction.unsaid(values)
        return table
    extra = None if prediction.errors is None else {"se": prediction.errors}
    table = tidy(arch.labels, prediction.profiles, extra, theory=prediction.theory)
    table.attrs["left_out"] = prediction.unsaid(prediction.profiles)
    return table


def at_positions(prediction: Prediction, positions: NDArray[np.int64]) -> tuple[Profiles, Profiles]:
    """Logarithms of second moments at ``positions``, (depth + 1, positions) by key, and their standard
    errors, empty where there are none. Between positions of a grid they are linear in the logarithm of
    these.

    Raises:
        AssumptionError: tokens are alike but for a loss that reads the last of them.
    """
    if not len(prediction.positions):
        if prediction.arch.loss == "last":
            raise AssumptionError(
                "the pair theory takes all tokens as alike, and loss='last' reads one of them; use "
                "theory='positions'"
            )
        alike = np.ones(len(positions))
        return {
            key: np.multiply.outer(profile, alike)
            for key, profile in prediction.profiles.items()
            if key[1] in ("variance", "grad_variance") and key != INPUT
        }, {}
    known, asked = np.log(prediction.positions), np.log(positions)

    def between(tables: Profiles) -> Profiles:
        return {key: np.array([np.interp(asked, known, row) for row in x]) for key, x in tables.items()}

    return between(prediction.by_position), between(prediction.position_errors)
