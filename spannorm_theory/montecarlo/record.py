"""What is measured of a batch of networks while it runs: averages over tokens, or single positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from ..base.quantities import INPUT, OUTPUT, SPECTRAL, Key
from .metrics import (
    block_change,
    gram,
    gram_moments,
    log_rank_residual,
    position_moments,
    rank_metrics,
    second_moments,
    token_modes,
)

Streams = list[torch.Tensor]

LN2 = 0.6931471805599453

#: bytes of token Grams that wait for their eigenvalues, on each kind of device: on a GPU each batch of
#: eigenvalues costs a synchronisation, and large batches are faster everywhere
WAITING = {"cpu": 1 << 24, "cuda": 1 << 28}


@dataclass
class Record:
    """Measurements of a batch, per key one float64 tensor (networks,) for each layer.

    Those that need the eigenvalues of token Grams wait for each other until :meth:`finish`.
    """

    values: dict[Key, dict[int, torch.Tensor]] = field(default_factory=dict)
    _waiting: list[tuple[str, int, torch.Tensor]] = field(default_factory=list)

    def put(self, stream: str, quantity: str, layer: int, value: torch.Tensor) -> None:
        """Keep one measurement."""
        self.values.setdefault((stream, quantity), {})[layer] = value

    def boundary(self, layer: int, streams: Streams) -> None:
        """Measure the streams in front of block ``layer``."""
        for i, x in enumerate(streams):
            modes = gram(token_modes(x.double()))
            q, rho = gram_moments(modes, x.shape[-1])
            self.put(str(i), "variance", layer, q.log())
            self.put(str(i), "token_cosine", layer, rho)
            self.put(str(i), "rank_residual", layer, log_rank_residual(modes))
            self._waiting.append((str(i), layer, modes))
        if sum(modes.nbytes for _, _, modes in self._waiting) > WAITING[modes.device.type]:
            self.finish()

    def finish(self) -> None:
        """Take the eigenvalues that were waiting."""
        if self._waiting:
            found = rank_metrics(torch.stack([modes for _, _, modes in self._waiting]))
            for name, values in zip(SPECTRAL, found, strict=True):
                for (stream, layer, _), value in zip(self._waiting, values, strict=True):
                    self.put(stream, name, layer, value)
            self._waiting.clear()

    def block(
        self, layer: int, before: Streams, after: Streams, observed: Mapping[Key, torch.Tensor]
    ) -> None:
        """Measure what block ``layer`` did to the streams; its branches ``observed`` themselves."""
        for (stream, quantity), value in observed.items():
            self.put(stream, quantity, layer, value)
        for i, (x, y) in enumerate(zip(before, after, strict=True)):
            cosine, share = block_change(x, y)
            self.put(str(i), "layer_cosine", layer, cosine)
            self.put(str(i), "branch_share", layer, share)

    def gradient(self, layer: int, grads: Streams, exponent: torch.Tensor) -> None:
        """Measure gradients that have been divided by 2^exponent."""
        shift = 2 * LN2 * exponent
        for i, g in enumerate(grads):
            gamma, r = second_moments(g)
            self.put(str(i), "grad_variance", layer, gamma.log() + shift)
            self.put(str(i), "grad_token_cosine", layer, r)
        if layer == 0 and len(grads) > 1:
            gamma, _ = second_moments(torch.stack(grads).sum(0))
            self.put(*INPUT, layer, gamma.log() + shift)

    def weight_grads(self, layer: int, norms: dict[str, torch.Tensor], exponent: torch.Tensor) -> None:
        """Measure the weight gradients of block ``layer``, of a loss divided by 2^exponent."""
        logarithms = torch.stack(list(norms.values())).log() + 2 * LN2 * exponent
        for name, value in zip(norms, logarithms, strict=True):
            self.put(name, "weight_grad_norm", layer, value)

    def log(
        self,
        head: Mapping[str, torch.Tensor],
        embedding: torch.Tensor,
        tied: torch.Tensor,
        exponent: torch.Tensor,
    ) -> None:
        """Measure what a training log holds, once all else is.

        Args:
            head: of :class:`.boundary.Loss`.
            embedding: squared gradient norm of the embedding, of a loss divided by 2^exponent.
            tied: what the squared norm of a matrix that is embedding and head has beside both, likewise once.
        """
        self.put(OUTPUT, "loss", 0, head["loss"])
        self.put(OUTPUT, "logit_second_moment", 0, head["logit_second_moment"].log())
        ends = torch.logaddexp(head["head"].log(), embedding.log() + 2 * LN2 * exponent)
        ends = ends + (tied * (LN2 * exponent - ends).exp()).log1p()
        squares = [ends]
        for (_, quantity), layers in self.values.items():
            if quantity == "weight_grad_norm":
                squares += layers.values()
        self.put(OUTPUT, "global_grad_norm", 0, torch.stack(squares).logsumexp(0) / 2)


class PositionRecord(Record):
    """Second moments of single positions, per key one float64 tensor (networks, positions) for each layer.

    Args:
        positions: indices of tokens, from 0.
    """

    def __init__(self, positions: torch.Tensor) -> None:
        super().__init__()
        self._positions = positions

    def boundary(self, layer: int, streams: Streams) -> None:
        """Measure the streams in front of block ``layer``."""
        for i, x in enumerate(streams):
            self.put(str(i), "variance", layer, position_moments(x, self._positions).log())

    def block(
        self, layer: int, before: Streams, after: Streams, observed: Mapping[Key, torch.Tensor]
    ) -> None:
        """Nothing: no quantity of a block is one of a position."""

    def gradient(self, layer: int, grads: Streams, exponent: torch.Tensor) -> None:
        """Measure gradients that have been divided by 2^exponent."""
        shift = 2 * LN2 * exponent[:, None]
        measured = {(str(i), "grad_variance"): g for i, g in enumerate(grads)}
        if layer == 0 and len(grads) > 1:
            measured[INPUT] = torch.stack(grads).sum(0)
        for key, g in measured.items():
            self.put(*key, layer, position_moments(g, self._positions).log() + shift)

    def weight_grads(self, layer: int, norms: dict[str, torch.Tensor], exponent: torch.Tensor) -> None:
        """Nothing: weight gradients are sums over positions."""

    def log(
        self,
        head: Mapping[str, torch.Tensor],
        embedding: torch.Tensor,
        tied: torch.Tensor,
        exponent: torch.Tensor,
    ) -> None:
        """Nothing: a log is of all positions."""
