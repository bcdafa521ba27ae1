"""Singular values of the streams of random networks: a forward pass that keeps what it sees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..base.quantities import Array
from ..spec.architecture import Architecture
from .batches import FULL
from .boundary import embedding
from .ensemble import ENGINES, choose_engine
from .global_state import arithmetic
from .metrics import gram, token_modes
from .program import Program
from .randomness import Randomness
from .resources import choose_device


def simulate_spectra(
    arch: Architecture, layers: Sequence[int], networks: int, seed: int = 0, device: str = "auto"
) -> dict[str, Array]:
    """s_i / |X|_F in falling order of the same networks that ``simulate`` measures.

    Returns:
        arrays (networks, layers, tokens) by stream.
    """
    program, where = Program(arch), choose_device(device)
    make_weights = ENGINES[choose_engine(arch, "auto")[0]]
    size = max(1, FULL // (arch.step_tokens * arch.hidden))
    parts: dict[str, list[Array]] = {str(s): [] for s in range(program.streams)}
    with torch.no_grad(), arithmetic():
        for start in range(0, networks, size):
            batch = range(start, min(start + size, networks))
            random = Randomness(seed, batch, dtype=torch.float64, device=where, cycle=arch.unique_blocks)
            streams = [embedding(arch, random)] * program.streams
            kept: dict[int, list[Array]] = {}
            for layer in range(max(layers) + 1):
                if layer in layers:
                    kept[layer] = [_normalised(x[:, : arch.tokens]) for x in streams]
                if layer < max(layers):
                    weights = make_weights(program.matrices(layer), random, layer)
                    streams = program.block(layer, streams, weights)
            for s, rows in enumerate(parts.values()):
                rows.append(np.stack([kept[layer][s] for layer in layers], axis=1))
    return {stream: np.concatenate(rows) for stream, rows in parts.items()}


def _normalised(x: torch.Tensor) -> Array:
    """Singular values over their root sum of squares, (networks, tokens)."""
    eigenvalues = torch.linalg.eigvalsh(gram(token_modes(x))).clamp(min=0).flip(-1)
    return np.asarray((eigenvalues / eigenvalues.sum(-1, keepdim=True)).sqrt().cpu())
