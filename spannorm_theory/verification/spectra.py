"""Singular-value spectra of the streams: theory and Monte Carlo in one tidy table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..base import arguments
from ..base.errors import InputError
from ..prediction.singular_values import singular_values
from ..spec.architecture import Architecture
from ..spec.arguments import architecture
from .estimators import mean


def spectra(
    arch: Architecture | str,
    layers: Sequence[int] | int | None = None,
    *,
    networks: int = 0,
    seed: int = 0,
    device: str = "auto",
) -> pd.DataFrame:
    """Normalised singular values s_i / |X|_F of each stream at some layers.

    Source: docs/theory.md, section 9.3.

    Args:
        arch: an architecture, or its text form.
        layers: boundaries, one or several, 0 (the input) to depth; None takes the input, depth / 4, and the
            output.
        networks: independent networks to simulate beside the theory, with the seeds of ``simulate``;
            0 for theory alone.
        seed: of the networks, as of ``simulate``.
        device: "auto", "cpu" or "cuda".

    Returns:
        one row for each layer, stream and index.

    Columns:
        placement, scaling, depth, width, tokens: of the architecture.
        layer, stream: of what X is.
        index: i, from 1 to the number of tokens, the largest value first.
        theory: the predicted s_i / norm of X, NaN where it is declined.
        estimate, se: mean over networks and its standard error, NaN without them.
        networks: how many.

    Raises:
        InputError: a layer outside the stack, or a single network.
        AssumptionError: the theory does not cover the architecture.

    Example:
        >>> import spannorm_theory as st
        >>> table = st.spectra("pre-norm depth=4 width=64 heads=2 tokens=4", layers=4)
        >>> table["theory"].round(2).tolist()
        [nan, nan, nan, nan]
    """
    arch, seed, networks = architecture(arch), arguments.seed(seed), arguments.whole("networks", networks)
    device = arguments.device(device)
    if networks == 1:
        raise InputError("networks must be 0 (theory alone) or at least 2 for a standard error, got 1")
    chosen = _layers(layers, arch.depth)
    theory = singular_values(arch, chosen)
    samples = None
    if networks:
        from ..montecarlo.spectra import simulate_spectra

        samples = simulate_spectra(arch, chosen, networks, seed, device)
    parts = []
    for stream, values in theory.items():
        for at, layer in enumerate(chosen):
            part = pd.DataFrame({"index": np.arange(1, arch.tokens + 1), "theory": values[at]})
            part.insert(0, "layer", layer)
            part.insert(1, "stream", stream)
            part["estimate"] = part["se"] = np.nan
            if samples is not None:  # fewer coordinates than tokens: the others are zero
                both = mean(samples[stream][:, at])
                part["estimate"], part["se"] = (np.pad(x, (0, arch.tokens - len(x))) for x in both)
            parts.append(part)
    table = pd.concat(parts, ignore_index=True)
    for place, (name, value) in enumerate(arch.labels.items()):
        table.insert(place, name, value)
    return table.assign(networks=networks)


def _layers(layers: Sequence[int] | int | None, depth: int) -> tuple[int, ...]:
    """The boundaries that are asked for, in order."""
    if layers is None:
        listed: list[Any] = [0, max(1, depth // 4), depth]
    else:
        listed = arguments.items("layers", layers, "integers") if isinstance(layers, Iterable) else [layers]
    if not listed:
        raise InputError(f"layers must be integers from 0 to {depth}, got none")
    return tuple(sorted({arguments.whole("layers", layer, 0, depth) for layer in listed}))
