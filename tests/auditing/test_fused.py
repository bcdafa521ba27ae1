"""Fused matrices are cut as the module cuts what they make, whatever the order of the pieces."""

from __future__ import annotations

from types import MethodType

import pytest
import torch
from modules import WIDTH, Attention, Model, mixed

import spannorm_theory as st
from spannorm_theory.base.errors import InputError

pytestmark = pytest.mark.usefixtures("registries", "own_generator")

STD = {"query": 0.1, "key": 0.2, "value": 0.3}


def pieces(model: Model, columns: dict[str, torch.Tensor]) -> Model:
    """The model, whose attention takes its queries, keys and values from these columns of the product, and
    whose rows are drawn with a standard deviation by role."""

    def forward(self: Attention, x: torch.Tensor) -> torch.Tensor:
        made = self.qkv(x)
        q, k, v = (made[..., columns[role]] for role in STD)
        return self.out_proj(mixed(q, k, v, self.causal))

    for block in model.blocks:
        block.attn.forward = MethodType(forward, block.attn)
        with torch.no_grad():
            for role, std in STD.items():
                block.attn.qkv.weight[columns[role]] = std * torch.randn(WIDTH, WIDTH)
    return model


def cut(order: tuple[str, ...], parts: int) -> dict[str, torch.Tensor]:
    """Columns of each role, in so many parts of which each has the roles in this order."""
    index = torch.arange(3 * WIDTH).view(parts, 3, -1)
    return {role: index[:, place].reshape(-1) for place, role in enumerate(order)}


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize(
    "order", [("query", "key", "value"), ("query", "value", "key"), ("value", "key", "query")]
)
def test_rows_are_those_that_the_module_reads(order: tuple[str, ...], parts: int) -> None:
    torch.manual_seed(0)
    model = pieces(Model(fused=True, causal=True), cut(order, parts))
    table = st.read(model, tokens=8).table.dropna(subset="layer").set_index(["role", "layer"])
    for role, std in STD.items():
        assert table.loc[f"attn.{role}", "std"].to_numpy() == pytest.approx(std, rel=0.1)


def test_without_a_mask_the_usual_order_is_taken() -> None:
    torch.manual_seed(0)
    model = pieces(Model(fused=True), cut(("query", "key", "value"), 1))
    table = st.read(model, tokens=8).table.dropna(subset="layer").set_index("role")
    assert table.loc["attn.value", "std"].to_numpy() == pytest.approx(0.3, rel=0.1)


@pytest.mark.parametrize("depth", [4, 8])
def test_the_shape_of_the_whole_matrix_explains_its_pieces_before_a_factor_of_depth(depth: int) -> None:
    torch.manual_seed(1)
    model = Model(depth=depth, fused=True, causal=True)
    for block in model.blocks:
        for layer in (block.attn.qkv, block.attn.out_proj, block.ffn.fc1, block.ffn.fc2):
            torch.nn.init.xavier_uniform_(layer.weight)
    words = {role: rule.words for role, rule in st.read(model, tokens=8).rules.items()}
    assert {words[f"attn.{role}"] for role in (*STD, "output")} == {"√(2/(inputs+outputs)) (uniform)"}


def test_a_fused_module_that_fails_is_named() -> None:
    model = Model(fused=True, causal=True)
    model.blocks[0].attn.out_proj = torch.nn.Linear(WIDTH + 1, WIDTH)
    for call in (st.read, st.probe):
        with pytest.raises(InputError, match="Model failed on its inputs: RuntimeError"):
            call(model, tokens=8)
