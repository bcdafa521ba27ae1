"""The quantities that theory and Monte Carlo both answer for, and the tidy table they share.

A profile maps ``(stream, quantity)`` to one number for each layer. Quantities that can grow or vanish
exponentially with depth are kept as natural logarithms, so that a factor of 2^-20000 is a number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]
Key = tuple[str, str]


@dataclass(frozen=True)
class Quantity:
    """A per-layer quantity.

    Attributes:
        logarithmic: profiles hold its natural logarithm.
        per_block: one value for each block (layers 0 to L-1) instead of each boundary (0 to L).
        label: how figures and tables call it.
        latex: its symbol.
    """

    name: str
    label: str
    latex: str
    logarithmic: bool = False
    per_block: bool = False


QUANTITIES: dict[str, Quantity] = {
    q.name: q
    for q in (
        Quantity(
            "load_imbalance",
            "load imbalance",
            r"\mathrm{var}_e N_e/\bar N^2",
            per_block=True,
        ),
        Quantity("variance", "forward variance", "q", logarithmic=True),
        Quantity("token_cosine", "token cosine", r"\rho"),
        Quantity("rank_residual", "rank residual", r"\Vert X-1\bar x^T\Vert/\Vert X\Vert", logarithmic=True),
        Quantity("stable_rank", "stable rank", r"\Vert X\Vert_F^2/\Vert X\Vert_2^2"),
        Quantity("effective_rank", "effective rank", r"\exp H(s)"),
        Quantity("participation_ratio", "participation ratio", r"(\mathrm{tr}\,G)^2/\mathrm{tr}\,G^2"),
        Quantity("grad_variance", "gradient variance", r"\gamma", logarithmic=True),
        Quantity("grad_token_cosine", "gradient token cosine", "r"),
        Quantity("layer_cosine", "cosine across a block", r"\cos(x_l, x_{l+1})", per_block=True),
        Quantity(
            "branch_share",
            "squared relative update",
            r"\Vert\Delta x\Vert^2/\Vert x\Vert^2",
            per_block=True,
        ),
        Quantity(
            "weight_grad_norm",
            "squared weight-gradient norm",
            r"\Vert\partial_W\Vert_F^2",
            logarithmic=True,
            per_block=True,
        ),
        Quantity("loss", "loss", r"\mathcal L"),
        Quantity("logit_second_moment", "second moment of the logits", r"\overline{z^2}", logarithmic=True),
        Quantity("global_grad_norm", "global gradient norm", r"\Vert\nabla\Vert", logarithmic=True),
        Quantity("update_ratio", "relative update", r"\Vert\Delta W\Vert/\Vert W\Vert", True, True),
        Quantity("grad_l1", "gradient 1-norm", r"\Vert G\Vert_1", True, True),
        Quantity("grad_nuclear", "gradient nuclear norm", r"\Vert G\Vert_*", True, True),
        Quantity("loss_slope", "first-order decrease of the loss", r"-\Delta\mathcal{L}", True, True),
        Quantity("learning_share", "share of the decrease", r"\mathcal{L}_W/\mathcal{L}", per_block=True),
        Quantity("matrix_change", "squared change of a projection", r"\overline{(x\Delta W)^2}", True, True),
        Quantity("branch_change", "squared change of a branch", r"\overline{\Delta f^2}", True, True),
        Quantity("stream_change", "squared change of a stream", r"\overline{\Delta x^2}", True),
        Quantity("coherent_change", "coherent squared change", r"\overline{\Delta x_\parallel^2}", True),
        Quantity("coherent_share", "coherent share", r"\cos^2(g, \Delta x)"),
        Quantity("kernel_trace", "tangent kernel of a token", r"\overline{\Theta_{ss}}", True, True),
        Quantity("kernel_alignment", "alignment of the tangent kernel", r"\rho_\Theta", per_block=True),
    )
}

#: the gradient at the embedding of a stack of several streams, at layer 0 alone: all of them start as it
INPUT: Key = ("input", "grad_variance")

#: what a training log holds of a stack with a head, at layer 0 of this stream alone
LOGGED = ("loss", "logit_second_moment", "global_grad_norm")
OUTPUT = "output"

#: the metrics that are functions of the whole spectrum
SPECTRAL = ("stable_rank", "effective_rank", "participation_ratio")


def tidy(
    labels: Mapping[str, str | int],
    profiles: Mapping[Key, Array],
    extra: Mapping[str, Mapping[Key, Array]] | None = None,
    **same: str,
) -> pd.DataFrame:
    """One row for each (layer, stream, quantity).

    Args:
        labels: columns that say one thing in every row and come first, as of ``Architecture.labels``.
        profiles: ``(stream, quantity)`` to an array over layers; logarithms where the quantity says so.
        extra: further columns by name, each with the same keys.
        same: columns of one text that come last.
    Returns:
        the labels, then layer, stream, quantity, value, log_value (NaN where a value is not positive), and
        the further columns.
    """
    keys = list(profiles)
    parts = [np.asarray(profile, dtype=float) for profile in profiles.values()]
    lengths = [len(part) for part in parts]
    logarithmic = np.repeat([QUANTITIES[quantity].logarithmic for _, quantity in keys], lengths)
    joined = np.concatenate(parts)
    value, log_value = joined.copy(), np.full_like(joined, np.nan)
    log_value[logarithmic] = joined[logarithmic]
    with np.errstate(over="ignore", under="ignore"):
        np.exp(joined, out=value, where=logarithmic)
    np.log(joined, out=log_value, where=~logarithmic & (joined > 0))
    columns: dict[str, object] = {
        **labels,
        "layer": np.concatenate([np.arange(length) for length in lengths]),
        "stream": pd.array([stream for stream, _ in keys], dtype="str").repeat(lengths),
        "quantity": pd.array([quantity for _, quantity in keys], dtype="str").repeat(lengths),
        "value": value,
        "log_value": log_value,
    }
    columns.update({n: np.concatenate([table[key] for key in keys]) for n, table in (extra or {}).items()})
    return pd.DataFrame({**columns, **same}, copy=False)


def tidy_positions(
    labels: Mapping[str, str | int],
    positions: Sequence[int],
    profiles: Mapping[Key, Array],
    extra: Mapping[str, Mapping[Key, Array]] | None = None,
    **same: str,
) -> pd.DataFrame:
    """One row for each (layer, position, stream, quantity).

    Args:
        positions: of tokens in their sequence, from 1.
        profiles: ``(stream, quantity)`` to an array (layers, positions).
        labels, extra, same: those of :func:`tidy`, each array of ``extra`` (layers, positions).
    Returns:
        the columns of :func:`tidy`, and ``position`` behind ``layer``.
    """
    columns = {name: _flat(table) for name, table in (extra or {}).items()}
    return split_positions(tidy(labels, _flat(profiles), columns, **same), positions)


def _flat(profiles: Mapping[Key, Array]) -> dict[Key, Array]:
    return {key: np.ravel(profile) for key, profile in profiles.items()}


def split_positions(table: pd.DataFrame, positions: Sequence[int]) -> pd.DataFrame:
    """A table whose column ``layer`` counts (layer, position), with a column for each of the two."""
    layer, index = np.divmod(table["layer"].to_numpy(), len(positions))
    table = table.assign(layer=layer)
    table.insert(list(table.columns).index("layer") + 1, "position", np.asarray(positions)[index])
    return table
