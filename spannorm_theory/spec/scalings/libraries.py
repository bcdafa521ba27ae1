"""Rules of training libraries and of models' configurations."""

from __future__ import annotations

from sympy import Expr, sqrt

from ...base.arguments import choice
from ..expressions import exact
from ..scaling import WEIGHTS, Multipliers, scaling
from .initialisation import matrices, output_projections


@scaling(
    "llama2.c",
    title="attention output and up projections / sqrt(2L)",
    source="https://github.com/karpathy/llama2.c",
    year=2023,
)
def llama2_c(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
    """The depth factor of llama2.c, on the matrices that it calls wo and w3: attn.output and ffn.up
    x 1/sqrt(2L), and nothing on w2, ffn.down. A gated branch is as large as under gpt2, and its gradients sit
    in other matrices."""
    return matrices(("attn.output", "ffn.up"), 1 / sqrt(2 * L))


@scaling(
    "torchtitan",
    title="output and up projections / sqrt(2(l+1))",
    source="https://github.com/pytorch/torchtitan",
    year=2024,
)
def torchtitan(sublayer: str, l: Expr, L: Expr, d: Expr, *, on: str = "outputs-and-up") -> Multipliers:
    """torchtitan's depth factor, on a standard deviation of 0.02 (init=0.02): of its Llama and DeepSeek,
    attn.output, ffn.down and ffn.up x 1/sqrt(2(l+1)), as olmo-llama-depth; of its GPT-OSS every matrix
    (on=all)."""
    names = {"outputs-and-up": ("attn.output", "ffn.down", "ffn.up"), "all": WEIGHTS}
    return matrices(names[choice("matrices that the rule acts on", on, names)], 1 / sqrt(2 * (l + 1)))


@scaling(
    "megatron-depth-mup",
    title="branches x 2/L, output projections / 2",
    source="https://github.com/NVIDIA/Megatron-LM/pull/4381",
    year=2026,
)
def megatron_depth_mup(sublayer: str, l: Expr, L: Expr, d: Expr, *, base: float = 2.0) -> Multipliers:
    """Depth-muP as proposed for Megatron, for m = L/base: every branch output x 1/m, and output projections
    x sqrt(m) on Megatron's own 1/sqrt(2L), whose dependence on depth that takes away, 1/sqrt(2 base)."""
    return output_projections(1 / sqrt(2 * base)) * Multipliers(branch=base / L)


def _embedding(L: Expr, d: Expr, *, embedding: float = 12.0) -> Expr:
    return exact(embedding)


@scaling(
    "granite",
    title="branches x 0.22, embedding x 12",
    source="https://github.com/huggingface/transformers",
    year=2024,
    embedding=_embedding,
)
def granite(
    sublayer: str, l: Expr, L: Expr, d: Expr, *, residual: float = 0.22, embedding: float = 12.0
) -> Multipliers:
    """Granite's residual_multiplier on every branch output and embedding_multiplier on the embedding, at the
    values of its 3.0 models; the factors on logits are fields of an architecture."""
    return Multipliers(branch=exact(residual))


@scaling(
    "minicpm",
    title="branches x 1.4/sqrt(L), embedding x 12",
    source="arXiv:2404.06395",
    year=2024,
    embedding=_embedding,
)
def minicpm(
    sublayer: str, l: Expr, L: Expr, d: Expr, *, depth: float = 1.4, embedding: float = 12.0
) -> Multipliers:
    """MiniCPM's scale_depth and scale_emb: every branch output x depth/sqrt(L), and the embedding x 12."""
    return Multipliers(branch=depth / sqrt(L))
