"""Whether matrices are independent draws: planted patterns are named, and draws of any usual law are not."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from modules import WIDTH, Model
from torch import nn

import spannorm_theory as st

pytestmark = pytest.mark.usefixtures("registries", "own_generator")

Fault = Callable[[Model], object]


def words(model: nn.Module) -> list[str]:
    """What is said of a model's matrices."""
    return [one.words for one in st.read(model, tokens=4, placement="pre-norm", activation="gelu").oddities]


def of_down(change: Callable[[torch.Tensor], object]) -> Fault:
    """A change of every ffn.down, (32, 64)."""

    def fault(model: Model) -> None:
        for block in model.blocks:
            change(block.ffn.fc2.weight)

    return fault


def half_zero(w: torch.Tensor) -> None:
    w[:, ::2] = 0


def repeated_rows(w: torch.Tensor) -> None:
    w[16:] = -1.5 * w[:16]


def sparse(w: torch.Tensor) -> None:
    w.mul_(torch.rand_like(w) < 0.2)
    w.add_(1e-4 * torch.randn_like(w))  # no column is all zero


def low_rank(w: torch.Tensor) -> None:
    w.copy_(torch.randn(len(w), 4) @ torch.randn(4, w.shape[1]) / 16)


def two_sizes(w: torch.Tensor) -> None:
    w[:8] *= 3


def shared(w: torch.Tensor) -> None:
    """A common part of all rows, without a mean."""
    w.add_(0.2 * torch.tensor([1.0, -1.0]).repeat(32)[torch.randperm(64)])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (half_zero, "32 of 64 columns are zero"),
        (repeated_rows, "16 of 32 rows are multiples of others"),
        (lambda w: w.add_(0.1), "entries have a mean, "),
        (two_sizes, "rows have several sizes, "),
        (low_rank, "(rows|columns) are correlated, with squared cosines "),
        (shared, "(rows|columns) are correlated, with squared cosines "),
        (sparse, "heavy tails, a fourth moment "),
    ],
)
def test_a_pattern_within_matrices_is_named(change: Callable[[torch.Tensor], object], said: str) -> None:
    model = Model(depth=3)
    with torch.no_grad():
        of_down(change)(model)
    (found,) = words(model)
    assert re.match(f"ffn.down of all blocks: {said}", found)


def keys(model: Model) -> None:
    model.blocks[2].attn.k_proj.weight.copy_(-2 * model.blocks[0].attn.k_proj.weight)


def noisy_keys(model: Model) -> None:
    keys(model)
    model.blocks[2].attn.k_proj.weight.add_(0.05 * torch.randn(WIDTH, WIDTH))


def values_and_down(model: Model) -> None:
    for block in model.blocks[1:]:
        for path in ("attn.v_proj.weight", "ffn.fc2.weight"):
            block.get_parameter(path).copy_(model.blocks[0].get_parameter(path))


def turned(model: Model) -> None:
    for block in model.blocks:
        block.attn.out_proj.weight.copy_(block.attn.q_proj.weight.T)


def scaled_blocks(model: Model) -> None:
    for place, block in enumerate(model.blocks):
        for own, first in zip(block.parameters(), model.blocks[0].parameters(), strict=True):
            if own.ndim > 1:
                own.copy_(first / (place + 1) ** 0.5)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (keys, "attn.key of blocks 0, 2 are copies of one another"),
        (noisy_keys, "attn.key of blocks 0, 2 are copies of one another"),
        (values_and_down, "attn.value, ffn.down of all blocks are copies of one another"),
        (turned, "attn.query and attn.output of all blocks are copies of one another"),
        (scaled_blocks, "All blocks hold the same numbers: they were copied from one"),
    ],
)
def test_copies_between_matrices_are_named(fault: Fault, said: str) -> None:
    model = Model(depth=3)
    with torch.no_grad():
        fault(model)
    assert words(model) == [said]


LAWS: dict[str, Callable[[torch.Tensor], object]] = {
    "normal": nn.init.xavier_normal_,
    "uniform": nn.init.xavier_uniform_,
    "truncated": lambda w: nn.init.trunc_normal_(w, 0, 0.02, -0.04, 0.04),
    "orthogonal": nn.init.orthogonal_,
    "mixed": lambda w: w.copy_(torch.randn_like(w).to(torch.bfloat16)),
}


@pytest.mark.parametrize("law", LAWS)
def test_draws_of_any_law_are_draws(law: str) -> None:
    """Two hundred matrices of 32 to 64 rows."""
    model = Model(depth=33)
    with torch.no_grad():
        for parameter in model.blocks.parameters():
            if parameter.ndim > 1:
                LAWS[law](parameter)
    assert words(model) == []


def test_a_role_that_is_zero_is_no_pattern() -> None:
    model = Model(depth=3)
    with torch.no_grad():
        of_down(torch.Tensor.zero_)(model)
    assert words(model) == []


@pytest.mark.parametrize("shape", [(1, 256), (256, 1), (1, 1), (2, 256)])
def test_a_matrix_of_one_row_or_column_is_read(shape: tuple[int, int]) -> None:
    model = Model(depth=2)
    drawn = [torch.randn(shape) for _ in model.blocks]
    for block, numbers in zip(model.blocks, drawn, strict=True):
        block.ffn.gate = nn.Linear(1, 1, bias=False)
        block.ffn.gate.weight = nn.Parameter(numbers)
    assert words(model) == []
    with torch.no_grad():
        for numbers in drawn:
            numbers.copy_(drawn[0])  # parameters over the same numbers
    if max(shape) > 1:
        assert words(model) == ["ffn.gate of all blocks are copies of one another"]
