"""The matrices of a user's module as its tensors are: spread, gain, tails, and the table of them all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
import pandas as pd
import torch
from scipy.special import ndtri
from torch import nn

from .blocks import Blocks
from .inputs import token_embedding
from .roles import BlockMatrices


@dataclass(frozen=True)
class Measured:
    """One matrix, or all experts that one tensor holds.

    Attributes:
        layer: block index; None outside the blocks.
        shape: (outputs, inputs), of each expert.
        whole: outputs of the parameter that it is a part of.
        entries: number of entries, of all experts.
        second, fourth: moments of an entry about zero.
        largest: largest absolute value.
        bias: root mean square of the bias that is added to it; NaN where there is none.
    """

    layer: int | None
    role: str
    name: str
    shape: tuple[int, int]
    whole: int
    entries: int
    second: float
    fourth: float
    largest: float
    bias: float
    dtype: str

    @property
    def std(self) -> float:
        """Root of the second moment."""
        return sqrt(self.second)

    @property
    def inputs(self) -> int:
        """Fan-in; an embedding's rows are looked up, so it has one input."""
        return 1 if "embedding" in self.role else self.shape[1]

    @property
    def gain(self) -> float:
        """Inputs x second moment: what the matrix multiplies a second moment by."""
        return self.inputs * self.second

    @property
    def relative_error(self) -> float:
        """Standard error of the gain over the gain, for independent entries of the measured fourth moment."""
        if not self.second:
            return 0.0
        return sqrt(max(self.fourth / self.second**2 - 1, 0.0) / self.entries)

    @property
    def reach(self) -> float:
        """Largest absolute value over the standard deviation."""
        return self.largest / self.std if self.second else float("nan")

    @property
    def truncation(self) -> float:
        """``reach`` over the median of what as many Gaussian numbers reach: 1 for a Gaussian, less for one
        that is cut, more for heavy tails."""
        return self.reach / gaussian_reach(self.entries)


def gaussian_reach(entries: int) -> float:
    """Median of the largest absolute value of independent N(0, 1) numbers."""
    return float(-ndtri(-np.expm1(np.log(0.5) / entries) / 2))


def block_matrices(
    blocks: Blocks, called: Sequence[str], matrices: Sequence[BlockMatrices]
) -> list[Measured]:
    """Every matrix with a role in the blocks, in order of layers."""
    modules = dict(blocks.modules)
    found = []
    for layer, (path, own) in enumerate(zip(called, matrices, strict=True)):
        parameters = dict(modules[path].named_parameters())
        for part in own.parts:
            bias = _bias(parameters, part.name)
            parameter = parameters[part.name].detach()
            tensor, whole = part.of(parameter), parameter.shape[-1 if part.transposed else -2]
            own_bias = None if bias is None else _of_rows(bias, part.rows)
            found.append(measured(layer, part.role, f"{path}.{part.name}", tensor, own_bias, whole))
    return found


def outer_matrices(model: nn.Module, blocks: Blocks) -> Iterator[Measured]:
    """Matrices outside the blocks: embeddings, the head, and others by the role "other"."""
    inside = {id(p) for _, block in blocks.modules for p in block.parameters()}
    tokens, head = token_embedding(model), output_head(model)
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.ndim != 2 or id(parameter) in inside:
                continue
            role = "other"
            if module is tokens:
                role = "embedding"
            elif module is head:
                role = "head"
            elif isinstance(module, nn.Embedding):
                role = "embedding of positions or kinds"
            inside.add(id(parameter))
            bias = getattr(module, "bias", None)
            yield measured(None, role, f"{path}.{name}", parameter.detach(), bias)


def output_head(model: nn.Module) -> nn.Module | None:
    """The matrix that makes logits: the one that the module names itself, or the last with an output for each
    token id."""
    own = getattr(model, "get_output_embeddings", None)
    found = own() if callable(own) else None
    if isinstance(found, nn.Module):
        return found
    embedding = token_embedding(model)
    types = None if embedding is None else embedding.num_embeddings
    heads = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == types]
    return heads[-1] if heads else None


def table_of(matrices: Sequence[Measured]) -> pd.DataFrame:
    """One row for each matrix.

    Returns:
        layer (missing outside the blocks), role, name, shape (outputs x inputs), fan_in, std, gain, se (of
        the gain), truncation, bias (root mean square), dtype.
    """
    rows = [
        {
            "layer": m.layer,
            "role": m.role,
            "name": m.name,
            "shape": f"{m.shape[0]} x {m.shape[1]}",
            "fan_in": m.inputs,
            "std": m.std,
            "gain": m.gain,
            "se": m.gain * m.relative_error,
            "truncation": m.truncation,
            "bias": m.bias,
            "dtype": m.dtype,
        }
        for m in matrices
    ]
    return pd.DataFrame(rows).astype({"layer": "Int64"})


def _bias(parameters: dict[str, nn.Parameter], name: str) -> torch.Tensor | None:
    stem = name.removesuffix("weight")
    found = parameters.get(f"{stem}bias" if name.endswith("weight") else f"{name}_bias")
    return None if found is None else found.detach()


def _of_rows(bias: torch.Tensor, rows: torch.Tensor | None) -> torch.Tensor:
    return bias if rows is None else bias.index_select(-1, rows.to(bias.device))


def measured(
    layer: int | None,
    role: str,
    name: str,
    tensor: torch.Tensor,
    bias: torch.Tensor | None = None,
    whole: int | None = None,
) -> Measured:
    """The moments of a matrix (..., outputs, inputs), with those of its bias; ``whole`` are the outputs of
    the parameter, where it is a part of one."""
    numbers = tensor.double()
    square = numbers.square()
    spread = float("nan") if bias is None else float(bias.detach().double().square().mean().sqrt())
    return Measured(
        layer,
        role,
        name,
        (tensor.shape[-2], tensor.shape[-1]),
        whole or tensor.shape[-2],
        tensor.numel(),
        float(square.mean()),
        float(square.square().mean()),
        float(numbers.abs().max()),
        spread,
        str(tensor.dtype).removeprefix("torch."),
    )
