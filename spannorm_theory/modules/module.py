"""``module``: a random network of an architecture, to train."""

from __future__ import annotations

from math import prod

from ..base import arguments
from ..montecarlo.ensemble import DTYPES
from ..montecarlo.randomness import Randomness
from ..montecarlo.resources import available_memory, choose_device
from ..spec.architecture import Architecture
from ..spec.arguments import architecture
from ..spec.room import require_room
from .transformer import Transformer


def module(
    arch: Architecture | str,
    *,
    seed: int = 0,
    network: int = 0,
    dtype: str = "float32",
    device: str = "cpu",
    checkpointing: bool = False,
) -> Transformer:
    """A random network of ``arch`` as an ordinary ``torch.nn.Module``.

    Its blocks run the program that ``simulate`` measures, and its parameters are the numbers that the
    explicit engine draws for that seed and network. There are no biases, and norms learn no gain but
    multipliers that the placement has.

    Source: docs/first_step.md.

    Args:
        arch: an architecture, or its text form.
        seed, network: which of the networks that ``simulate`` measures.
        dtype: "float32", "float64" or "bfloat16".
        device: "cpu", "cuda", "cuda:<index>" or "auto", or a ``torch.device``.
        checkpointing: compute every block again in the backward pass, in place of keeping its tensors.

    Returns:
        the module, in training mode. It reads token ids (sequences, tokens), or tokens
        (sequences, tokens, width) where ``inputs="gaussian"``, and returns logits where the loss is a
        cross-entropy, else the output (sequences, tokens, width).

    Raises:
        InputError: a value that cannot be used, or a size that does not fit into memory.

    Example:
        >>> import spannorm_theory as st
        >>> ends = "inputs=zipf loss=cross-entropy vocabulary=9"
        >>> model = st.module(f"pre-norm depth=2 width=16 heads=2 tokens=4 {ends}")
        >>> import torch
        >>> model(torch.tensor([[0, 3, 8, 1]])).shape
        torch.Size([1, 4, 9])
    """
    arch, seed = architecture(arch), arguments.seed(seed)
    network = arguments.whole("network", network)
    kind = DTYPES[arguments.choice("dtype", dtype, DTYPES)]
    checkpointing, where = arguments.flag("checkpointing", checkpointing), choose_device(device)
    words = f"a module of width {arch.width} and {arch.depth} blocks"
    on = "" if where.type == "cpu" else f" on {where}"
    require_room(arch, lambda one: kind.itemsize * _parameters(one), available_memory(where), words, on)
    random = Randomness(seed, [network], dtype=kind, device=where)
    return Transformer(arch, random, checkpointing)


def _parameters(arch: Architecture) -> int:
    """Numbers that the module has at most."""
    of_block = sum(arch.copies(name) * prod(shape) for name, shape in arch.weights.items())
    ends = arch.vocabulary * (arch.reads_ids + (arch.loss == "cross-entropy")) + arch.tokens
    return arch.depth * of_block + arch.width * ends
