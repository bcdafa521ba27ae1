"""Singular-value spectra of the streams: theory and Monte Carlo in one tidy table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..base.errors import InputError
from ..prediction.singular_values import singular_values
from ..spec.architecture import Architecture
from .estimators import mean


def spectra(
    arch: Architecture,
    layers: Sequence[int] | None = None,
    *,
    networks: int = 0,
    seed: int = 0,
    device: str = "auto",
) -> pd.DataFrame:
    """Normalised singular values s_i / |X|_F of each stream at some layers.

    Args:
        layers: boundaries, 0 (the input) to depth; None takes the input, depth / 4, and the output.
        networks: independent networks to simulate beside the theory, with the seeds of ``simulate``;
            0 for theory alone.

    Returns:
        one row for each layer, stream and index i = 1 ... tokens: placement, scaling, depth, width, tokens,
        layer, stream, index, theory, estimate, se (over networks; NaN without them), networks.

    Raises:
        InputError: a layer outside the stack, or a single network.
        AssumptionError: the theory does not cover the architecture.
    """
    chosen = (0, max(1, arch.depth // 4), arch.depth) if layers is None else tuple(layers)
    chosen = tuple(sorted(set(chosen)))
    if not chosen or not all(isinstance(l, int) and 0 <= l <= arch.depth for l in chosen):
        raise InputError(f"layers must be integers from 0 to {arch.depth}, got {layers!r}")
    if networks < 0 or networks == 1:
        raise InputError(
            f"networks must be 0 (theory alone) or at least 2 for a standard error, got {networks!r}"
        )
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
