"""Monte Carlo as one writes it without this toolkit: a stack of torch modules, and a loop over seeds.

Blocks of ``nn.Linear``, fused attention, gradients retained at every block boundary, weight gradients from
``.grad``. As one writes it, a stack is made for every seed, and its matrices drawn over what ``nn.Linear``
put there; with ``tuned`` it is made once, without that first draw, and only drawn anew. Statistics are those
of the Monte Carlo engines, by the same functions, so that only the way to the tensors differs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from ..base.errors import InputError
from ..montecarlo.program import Program
from ..montecarlo.record import Record
from ..spec.architecture import Architecture

Linear = Callable[[int, int], nn.Linear]


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A matrix with the module's own initialisation."""
    return nn.Linear(inputs, outputs, bias=False)


def empty_linear(inputs: int, outputs: int) -> nn.Linear:
    """A matrix to be drawn."""
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs, bias=False)  # type: ignore[no-untyped-call]
    assert isinstance(layer, nn.Linear)
    return layer


class SelfAttention(nn.Module):
    """Multi-head softmax attention."""

    def __init__(self, arch: Architecture, linear: Linear) -> None:
        super().__init__()
        d = arch.width
        self.heads, self.causal = arch.heads, arch.mask == "causal"
        self.query, self.key, self.value, self.output = (linear(d, d) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Tensors of shape (1, tokens, width) to the same."""
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        result: torch.Tensor = self.output(mixed.transpose(1, 2).flatten(-2))
        return result


class FeedForward(nn.Module):
    """phi(x W_up) W_down, or (phi(x W_gate) * (x W_up + a)) W_down."""

    def __init__(self, arch: Architecture, linear: Linear) -> None:
        super().__init__()
        self.activation: Callable[[torch.Tensor], torch.Tensor] = arch.nonlinearity.torch_function
        self.gated, self.offset = arch.nonlinearity.gated, arch.nonlinearity.up_offset
        self.up, self.down = linear(arch.width, arch.hidden), linear(arch.hidden, arch.width)
        if self.gated:
            self.gate = linear(arch.width, arch.hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Tensors of shape (1, tokens, width) to the same."""
        up = self.up(x)
        hidden = self.activation(self.gate(x)) * (up + self.offset) if self.gated else self.activation(up)
        result: torch.Tensor = self.down(hidden)
        return result


class Block(nn.Module):
    """Attention, feed-forward and a norm without parameters; subclasses place the norm."""

    final_norm = False

    def __init__(self, arch: Architecture, first: bool, linear: Linear) -> None:
        super().__init__()
        norm = nn.LayerNorm if arch.norm == "layer" else nn.RMSNorm
        self.norm = norm(arch.width, eps=0.0, elementwise_affine=False)
        self.first = first
        self.attn, self.ffn = SelfAttention(arch, linear), FeedForward(arch, linear)


class PreNormBlock(Block):
    """x + F(N(x)) twice, and a norm behind the last block."""

    final_norm = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The stream after the block."""
        x = x + self.attn(self.norm(x))
        result: torch.Tensor = x + self.ffn(self.norm(x))
        return result


class PostNormBlock(Block):
    """N(x + F(x)) twice."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The stream after the block."""
        x = self.norm(x + self.attn(x))
        result: torch.Tensor = self.norm(x + self.ffn(x))
        return result


class SpanNormBlock(Block):
    """y = N(x + attention(x)), then N(x + ffn(y)); the first block's attention reads N(x)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The stream after the block."""
        y = self.norm(x + self.attn(self.norm(x) if self.first else x))
        result: torch.Tensor = self.norm(x + self.ffn(y))
        return result


BLOCKS: dict[str, type[Block]] = {
    "pre-norm": PreNormBlock,
    "post-norm": PostNormBlock,
    "span-norm": SpanNormBlock,
}


class PlainStack(nn.Module):
    """A transformer stack as modules.

    Args:
        linear: makes the matrices.

    Raises:
        InputError: a placement or scaling that has no module here.
    """

    def __init__(self, arch: Architecture, linear: Linear = linear) -> None:
        super().__init__()
        scaled = any(multiplier not in (0, 1) for trace in arch.traces for multiplier in trace.multipliers)
        normed = arch.qk_norm or arch.qkv_norm
        special = arch.special_attention or arch.experts > 1 or arch.draw != "normal"
        if arch.placement not in BLOCKS or scaled or normed or special:
            raise InputError(
                f"there is no module of {arch} to compare with; use one of {', '.join(BLOCKS)}, a scaling "
                "rule that scales weights only, no norm inside attention, plain attention, dense blocks and "
                "normal draws"
            )
        self.arch = arch
        block = BLOCKS[arch.placement]
        self.blocks = nn.ModuleList(block(arch, layer == 0, linear) for layer in range(arch.depth))

    @torch.no_grad()
    def draw(self, generator: torch.Generator) -> None:
        """Gaussian weights of the architecture's initialisation and scaling."""
        program = Program(self.arch)
        for layer, block in enumerate(self.blocks):
            for name, matrix in program.matrices(layer).items():
                weight = block.get_parameter(f"{name}.weight")
                weight.normal_(std=matrix.std, generator=generator)

    def forward(self, x: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """The stream at every boundary, and the output."""
        boundaries = [x]
        for block in self.blocks:
            boundaries.append(block(boundaries[-1]))
        last = self.blocks[-1]
        assert isinstance(last, Block)
        output: torch.Tensor = last.norm(boundaries[-1]) if last.final_norm else boundaries[-1] * 1.0
        return boundaries, output


def measure(model: PlainStack, x: torch.Tensor, probe: torch.Tensor) -> Record:
    """One forward and one backward pass with every statistic of every layer.

    Args:
        x, probe: input and the loss' gradient at the output; (1, tokens, width).
    """
    record, depth = Record(), model.arch.depth
    boundaries, output = model(x.requires_grad_())
    for boundary in boundaries:
        boundary.retain_grad()
    model.zero_grad(set_to_none=True)
    output.backward(probe)
    one = torch.zeros(1, dtype=torch.float64)
    with torch.no_grad():
        for layer, boundary in enumerate(boundaries):
            assert boundary.grad is not None
            record.boundary(layer, [boundary])
            record.gradient(layer, [boundary.grad], one)
        for layer in range(depth):
            record.block(layer, [boundaries[layer]], [boundaries[layer + 1]], {})
            norms = {
                name.removesuffix(".weight"): weight.grad.square().sum().double()[None]
                for name, weight in model.blocks[layer].named_parameters()
                if weight.grad is not None
            }
            record.weight_grads(layer, norms, one)
    record.finish()
    return record


def loop(arch: Architecture, networks: int, seed: int = 0, tuned: bool = False) -> list[Record]:
    """Measure networks one by one; ``tuned``: in one model's memory."""
    model = PlainStack(arch, empty_linear) if tuned else None
    return [_network(model or PlainStack(arch), seed + network) for network in range(networks)]


def _network(model: PlainStack, seed: int) -> Record:
    generator = torch.Generator().manual_seed(seed)
    model.draw(generator)
    x, probe = torch.randn(2, 1, model.arch.tokens, model.arch.width, generator=generator)
    return measure(model, x, probe)
