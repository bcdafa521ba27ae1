"""The claims that are audited; on the unit block (ReLU, every branch of second moment 1 on unit input) where
nothing else is said."""

from __future__ import annotations

from math import log, sqrt
from typing import Any

from ...prediction.predict import predict_profiles
from ...spec.architecture import Architecture
from .audit import Audit
from .statistics import (
    Statistic,
    growth,
    last_cosine,
    last_variance,
    norm_ratio,
    output_share,
    variance_ratio,
)

UNIT: dict[str, Any] = {
    "activation": "relu",
    "init": "unit-branch",
    "width": 128,
    "heads": 4,
    "tokens": 32,
}


def _arch(placement: str, scaling: str = "unit", **fields: Any) -> Architecture:
    return Architecture(placement, scaling, **{**UNIT, **fields})


def _theory(statistic: Statistic, placement: str, scaling: str = "unit", **fields: Any) -> float:
    return statistic(predict_profiles(_arch(placement, scaling, **fields)).profiles)


def audits() -> list[Audit]:
    """Every audit, in the catalogue's order."""
    down, up = (norm_ratio(name, "weight_grad_norm") for name in ("ffn.down", "ffn.up"))
    hidden = norm_ratio("0", "grad_variance")
    xiong: dict[str, Any] = {
        "init": "fan-in",
        "ffn_ratio": 1.0,
        "heads": 1,
        "logit_variance": 1e-12,
        "loss": "cross-entropy",
        "vocabulary": 500,
    }
    omega2 = 49 / log(49) - 1
    return [
        Audit(
            "1a",
            "PostNorm's gradients vanish towards the input by sqrt(2/3) per block, which is what norms leave "
            "of the skip",
            "arXiv:2002.04745",
            "norm of the gradient of the last feed-forward matrix, first block over last of 24; uniform "
            "attention",
            (2 / 3) ** (23 / 2),
            _arch("post-norm", depth=24, **xiong),
            down,
        ),
        Audit(
            "1b",
            "PostNorm's gradients vanish by sqrt(1/2) per sublayer",
            "arXiv:2601.19895",
            "norm of the gradient of the stream, input over output of 24 blocks",
            2.0**-24,
            _arch("post-norm", depth=24),
            hidden,
        ),
        Audit(
            "2a",
            "under LayerNorm Scaling the variance grows at least linearly with depth",
            "arXiv:2502.05795",
            "variance after 48 blocks over that after 12",
            4.0,
            _arch("ln-scaling", depth=48),
            variance_ratio(48, over=12),
        ),
        Audit(
            "2b",
            "LayerNorm Scaling evens out the gradients of early and late blocks",
            "arXiv:2502.05795",
            "norm of the gradient of the up projection, first block over last of 48; PreNorm's is the "
            "claim's",
            _theory(up, "pre-norm", depth=48),
            _arch("ln-scaling", depth=48),
            up,
        ),
        Audit(
            "3",
            "two later comparisons initialise DeepNorm as published",
            "https://github.com/pixeli99/MixLN",
            "cosine of the stream across the last of 8 blocks, Xavier; the published rule's is the claim's",
            _theory(last_cosine, "post-norm", "deepnorm", depth=8, init="xavier"),
            _arch("post-norm", "deepnorm-baseline-code", depth=8, init="xavier"),
            last_cosine,
        ),
        Audit(
            "5",
            "the code of DS-Init draws what the paper states",
            "https://github.com/bzhangGo/zero",
            "variance of PreNorm after 32 blocks; the paper's rule is the claim's",
            _theory(last_variance, "pre-norm", "ds-init", depth=32),
            _arch("pre-norm", "ds-init-code", depth=32),
            last_variance,
        ),
        Audit(
            "6",
            "T-Fixup's code, which multiplies values by sqrt(2) once more, has the branches of the paper's "
            "rule",
            "https://github.com/layer6ai-labs/T-Fixup",
            "norm of the gradient of attention's output projection over that of the last feed-forward "
            "matrix, block 16 of 16, tokens of cosine 0.5; the paper's rule is the claim's",
            _theory(output_share, "no-norm", "t-fixup", depth=16, input_cosine=0.5),
            _arch("no-norm", "t-fixup-code", depth=16, input_cosine=0.5),
            output_share,
            stands=True,
        ),
        Audit(
            "7",
            "OLMo-core's llama initialisation scales a gated branch as GPT-2 does",
            "https://github.com/allenai/OLMo-core",
            "variance that 24 PreNorm blocks with SwiGLU add; GPT-2's rule is the claim's",
            _theory(growth, "pre-norm", "gpt2", depth=24, activation="swiglu"),
            _arch("pre-norm", "olmo-llama", depth=24, activation="swiglu"),
            growth,
        ),
        Audit(
            "8",
            "Swin v2's normed branches each add a variance of 1",
            "arXiv:2111.09883",
            "variance that 12 blocks add; the published code initialises the gains as zero",
            24.0,
            _arch("swin-v2", depth=12),
            growth,
        ),
        Audit(
            "9",
            "norms on the branches' outputs do without norms on queries and keys",
            "https://github.com/facebookresearch/chameleon",
            "norm of the gradient of the stream, input over output of 12 blocks; OLMo 2's is the claim's",
            _theory(hidden, "olmo2", depth=12),
            _arch("output-norm", depth=12),
            hidden,
        ),
        Audit(
            "11",
            "ResiDual's second stream carries the gradient to every block undiminished",
            "arXiv:2304.14802",
            "norm of the gradient of that stream, input over output of 24 blocks",
            1.0,
            _arch("residual", depth=24),
            norm_ratio("1", "grad_variance"),
            stands=True,
        ),
        Audit(
            "12a",
            "PreNorm's weight gradients are the same in every block",
            "arXiv:2002.04745",
            "norm of the gradient of the last feed-forward matrix, block 9 over block 36 of 36",
            1.0,
            _arch("pre-norm", depth=36),
            norm_ratio("ffn.down", "weight_grad_norm", 8, 35),
        ),
        Audit(
            "12b",
            "PreNorm's weight gradients fall as the square root of the block's index",
            "https://github.com/akhilkedia/TranformersGetStable",
            "the same",
            2.0,
            _arch("pre-norm", depth=36),
            norm_ratio("ffn.down", "weight_grad_norm", 8, 35),
            stands=True,
        ),
        Audit(
            "13",
            "Admin multiplies the branch",
            "secondary accounts of arXiv:2004.08249",
            "cosine of the stream across the last of 24 blocks; the claim's leaves attention out",
            1 / sqrt(1 + omega2),
            _arch("admin", depth=24),
            last_cosine,
        ),
    ]
