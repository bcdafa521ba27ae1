"""Fifteen families of ``transformers``, each with the library's own initialisation and with fan-in draws: the
theory of what is read of them against the probe of their modules.

    python tests/auditing/families.py                 # the table of docs/your_model.md, 64 networks
    python tests/auditing/families.py --networks 16 llama qwen3
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import spannorm_theory as st

WIDTH, DEPTH, HEADS, TOKENS = 256, 12, 4, 32
WAYS = ("own", "fan-in")

#: what a correct theory may differ by beside three standard errors: a share of variance and gradient
ALLOWED = {"variance": 0.06, "token_cosine": 0.03, "grad_variance": 0.12}


def configs(width: int) -> dict[str, dict[str, Any]]:
    """What the configuration of each family says beside its depth."""
    plain = {"hidden_size": width, "num_attention_heads": HEADS, "intermediate_size": 4 * width}
    head = width // HEADS
    gated = {**plain, "intermediate_size": 11 * width // 4, "num_key_value_heads": 2, "head_dim": head}
    whole = {**plain, "intermediate_size": 11 * width // 4, "num_key_value_heads": HEADS}
    latent = {"q_lora_rank": 3 * width // 8, "kv_lora_rank": width // 4}
    latent |= {"qk_nope_head_dim": head // 2, "qk_rope_head_dim": head // 4}
    experts = {"moe_intermediate_size": width, "num_experts_per_tok": 2}
    return {
        "gpt2": {"n_embd": width, "n_head": HEADS},
        "llama": gated,
        "mistral": {**gated, "sliding_window": 8},
        "qwen3": gated,
        "gemma2": {**gated, "query_pre_attn_scalar": head, "sliding_window": 8},
        "olmo2": whole,
        "cohere2": {**gated, "sliding_window": 8},
        "mixtral": {**gated, "num_experts_per_tok": 2, "num_local_experts": 8},
        "granite": {**gated, "embedding_multiplier": 12.0, "residual_multiplier": 0.22},
        "nemotron": gated,
        "phi": plain,
        "gpt_neox": plain,
        "bert": plain,
        "minicpm3": {**whole, **latent},
        "deepseek_v3": {
            **whole,
            **latent,
            **experts,
            "v_head_dim": 3 * head // 4,
            "n_routed_experts": 8,
            "n_group": 1,
            "topk_group": 1,
            "first_k_dense_replace": 1,
        },
    }


#: the families that a table has
FAMILIES = tuple(configs(WIDTH))


def builder(
    family: str,
    fault: Callable[[Any], object] = lambda model: None,
    depth: int = DEPTH,
    width: int = WIDTH,
    **more: Any,
) -> Callable[[int], nn.Module]:
    """A function of a seed that makes a family's model, with ``fault`` done to it.

    Args:
        more: of its configuration, or all of it where the family has no row.
    """
    import transformers

    transformers.logging.set_verbosity_error()
    known = configs(width).get(family, {})
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    layers = "n_layer" if "n_embd" in {**known, **more} else "num_hidden_layers"
    values = {"vocab_size": 8000, layers: depth, **ids, **known, **more}
    config = transformers.AutoConfig.for_model(family, **values)

    def build(seed: int) -> nn.Module:
        model: nn.Module = transformers.AutoModel.from_config(config, attn_implementation="eager")
        with torch.no_grad():
            fault(model)
        return model

    return build


def fan_in(model: Any) -> None:
    """Every matrix drawn anew as N(0, 1/inputs), embeddings as N(0, 1)."""
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            if isinstance(module, nn.Embedding):
                parameter.normal_()
            elif parameter.ndim > 1:
                turned = type(module).__name__ == "Conv1D"  # whose rows are inputs
                parameter.normal_(0, parameter.shape[-2 if turned else -1] ** -0.5)


@dataclass(frozen=True)
class Row:
    """One family drawn in one way, and the worst layer of one quantity by what is allowed there.

    Attributes:
        off: theory less what was measured; as a share of it but for cosines.
        error: standard error of that.
        allowed: three of these, and the allowance of the quantity.
        gaps: features that the theory is known not to have.
    """

    family: str
    way: str
    quantity: str
    layer: int
    off: float
    error: float
    allowed: float
    gaps: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether the theory is within what is allowed."""
        return abs(self.off) <= self.allowed


def rows(family: str, way: str, networks: int, **sizes: Any) -> list[Row]:
    """The worst layer of each quantity: the theory of the family's configuration, or of what is read of a
    network with fan-in draws, against the mean of networks."""
    build = builder(family, fan_in, **sizes) if way == "fan-in" else builder(family, **sizes)
    measured = st.probe(build, tokens=TOKENS, networks=networks, progress=False)
    torch.manual_seed(0)
    model: Any = build(0)
    found = st.from_config(model.config, TOKENS) if way == "own" else st.read(model, tokens=TOKENS)
    assert found.arch is not None
    columns, theory = ["layer", "stream", "quantity"], st.predict(found.arch)
    both = measured.table.merge(theory, on=columns, suffixes=("", "_theory"))
    gaps = tuple(gap.feature for gap in found.gaps)
    result = []
    for quantity, allowance in ALLOWED.items():
        part = both[(both["quantity"] == quantity) & (both["stream"] == "0")]
        assert len(part) == measured.depth + 1
        size = 1.0 if quantity == "token_cosine" else part["value"]
        off, error = (part["value_theory"] - part["value"]) / size, part["se"] / size
        allowed = 3 * error + allowance
        worst = int((off.abs() / allowed).argmax())
        values = (float(x.iloc[worst]) for x in (off, error, allowed))
        result.append(Row(family, way, quantity, int(part["layer"].iloc[worst]), *values, gaps))
    return result


def table(families: Iterable[str], networks: int) -> None:
    """Print a line for each family and way as Markdown."""
    print("| model | initialisation | variance | token cosine | gradient variance | |\n|" + "---|" * 6)
    for family in families:
        for way in WAYS:
            found = rows(family, way, networks)
            cells = [f"{r.off:+.3f} ± {r.error:.3f} ({r.allowed:.3f})" for r in found]
            verdict = "agrees" if all(r.agrees for r in found) else "departs"
            said = "; ".join((verdict, *found[0].gaps))
            print(f"| {family} | {way} | {' | '.join(cells)} | {said} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", help="all of them by default")
    parser.add_argument("--networks", type=int, default=64)
    args = parser.parse_args()
    table(args.families or FAMILIES, args.networks)
