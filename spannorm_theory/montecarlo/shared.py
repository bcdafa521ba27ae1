"""Gradients of matrices that several blocks have: sums over these, block by block from the last to the first.

Each block's gradients come divided by a power of two of their own (:mod:`.network`); the sum is kept with the
largest, so that no depth over- or underflows.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch


class SharedGradients:
    """The sums of a batch of networks.

    Args:
        unique: number of blocks that are different; block l has the matrices of block l mod unique.
    """

    def __init__(self, unique: int) -> None:
        self._unique = unique
        self._sums: dict[int, dict[str, torch.Tensor]] = {}
        self._exponents: dict[int, torch.Tensor] = {}

    def add(
        self, layer: int, gradients: Mapping[str, torch.Tensor], exponent: torch.Tensor
    ) -> tuple[dict[str, torch.Tensor] | None, torch.Tensor]:
        """Take the gradients of one more block, divided by 2^exponent.

        Args:
            layer: its index; blocks come in falling order.
            gradients: dLoss/dW of each matrix, (networks, inputs, outputs).
            exponent: of each network, (networks,).

        Returns:
            squared norms of the sums, float64 (networks,), and their exponent; None in place of the former
            until the first block that has these matrices.
        """
        place = layer % self._unique
        before = self._exponents.get(place, exponent)
        largest = torch.maximum(before, exponent)
        sums = {name: _divided(x, largest - before) for name, x in self._sums.get(place, {}).items()}
        for name, gradient in gradients.items():
            own = _divided(gradient, largest - exponent)
            sums[name] = sums[name] + own if name in sums else own
        if layer == place:
            return {name: x.double().square().sum((1, 2)) for name, x in sums.items()}, largest
        self._sums[place], self._exponents[place] = sums, largest
        return None, largest


def _divided(x: torch.Tensor, exponent: torch.Tensor) -> torch.Tensor:
    """X over 2^exponent of each network."""
    scale = torch.ldexp(torch.ones_like(exponent), -exponent)
    return x * scale.to(x.dtype)[:, None, None]
