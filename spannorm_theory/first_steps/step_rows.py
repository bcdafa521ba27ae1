"""Quantities of the first step of one network, as they are measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ..base.errors import NonFiniteError
from ..base.quantities import OUTPUT, QUANTITIES, Key

Samples = dict[Key, NDArray[np.float64]]
#: values of one network, by key and layer
Found = dict[Key, dict[int, float]]


def beyond(what: str, of: str) -> NonFiniteError:
    """The error of ``what`` left the range of the numbers."""
    return NonFiniteError(
        f"{what} is not finite in the step of {of}: the stack leaves the range of the numbers; try fewer "
        "layers or another scaling"
    )


class StepRows:
    """Rows of one network.

    Args:
        of: whose step it is, in words.

    Attributes:
        found: values by key and layer, by their logarithm where the quantity says so.
    """

    def __init__(self, of: str) -> None:
        self.found: Found = {}
        self._of = of

    def put(self, stream: str, quantity: str, layer: int, value: float | torch.Tensor) -> None:
        """Keep a value; the input does not move."""
        number = float(value)
        if QUANTITIES[quantity].logarithmic:
            with np.errstate(divide="ignore"):
                number = float(np.log(number))
        if np.isposinf(number) or (np.isnan(number) and layer):
            raise beyond(f"{quantity} of {stream} at layer {layer}", self._of)
        self.found.setdefault((stream, quantity), {})[layer] = number

    def shares(self, slopes: NDArray[np.float64]) -> None:
        """Keep rows of blocks and of the whole step, where those of matrices are there.

        Args:
            slopes: decrease of the loss by each block.
        """
        total = float(slopes.sum())
        for (name, quantity), layers in list(self.found.items()):
            if quantity == "loss_slope":
                for layer, value in layers.items():
                    self.put(name, "learning_share", layer, np.exp(value) / total)
        for layer, slope in enumerate(slopes):
            self.put("block", "loss_slope", layer, slope)
            self.put("block", "learning_share", layer, slope / total)
        self.put("all", "loss_slope", 0, total)

    def coherent(
        self, stream: str, layer: int, moved: Sequence[torch.Tensor], grads: Sequence[torch.Tensor]
    ) -> None:
        """Keep the part of a change along the gradient, and its share.

        Args:
            moved, grads: of each stream; of more gradients than streams the first ones.
        """
        pairs = list(zip(moved, grads, strict=False))
        along = sum((x * g).sum() for x, g in pairs) ** 2 / sum(g.square().sum() for _, g in pairs)
        self.put(stream, "coherent_change", layer, along / moved[0].numel())
        self.put(stream, "coherent_share", layer, along / sum(x.square().sum() for x, _ in pairs))


def samples_of(found: Sequence[Found], depth: int) -> Samples:
    """Rows of all networks: (stream, quantity) to (networks, layers)."""
    return {key: np.array([_profile(key, one[key], depth) for one in found]) for key in found[0]}


def _profile(key: Key, layers: Mapping[int, float], depth: int) -> list[float]:
    """Values over layers; a block without this matrix or branch has a zero."""
    stream, quantity = key
    if stream in ("all", OUTPUT) and set(layers) == {0}:
        return [layers[0]]
    nothing = -np.inf if QUANTITIES[quantity].logarithmic else 0.0
    return [layers.get(layer, nothing) for layer in range(depth + (not QUANTITIES[quantity].per_block))]
