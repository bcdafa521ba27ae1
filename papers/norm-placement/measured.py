"""The Monte Carlo behind the write-up: which networks, how many, and what is read off them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

import spannorm_theory as st
from spannorm_theory.bench import regimes, resolutions
from spannorm_theory.bounds.intervals import gain_intervals
from spannorm_theory.gaussian.activations import ACTIVATIONS as REGISTERED
from spannorm_theory.prediction.exchangeable import predict_pair
from spannorm_theory.verification.allowances import allowances, fluctuations

PLACEMENTS = ("pre-norm", "post-norm", "span-norm", "hybrid-norm")
RULES = ("unit", "depth-scaled-init")
#: quantities of the accuracy table
JUDGED = ("variance", "token_cosine", "grad_variance", "grad_token_cosine", "weight_grad_norm")
#: the two placements whose gradients are compared over depths
RIVALS = ("post-norm", "span-norm")
ACTIVATIONS = ("relu", "gelu", "silu", "reglu", "geglu", "swiglu")


@dataclass(frozen=True)
class Scale:
    """How much is simulated.

    Attributes:
        sizes: of the networks behind the profiles and the accuracy table.
        blocks: their two depths.
        networks: per architecture there.
        depths: at which the gradient of a whole stack is measured.
        hard: sizes of the hard regime, with ``hard_networks`` each.
        causal: sizes of the causal stacks, with ``causal_networks`` each.
        widths: of the width study, ``width_depth`` blocks and ``width_networks`` each.
    """

    sizes: dict[str, int]
    blocks: tuple[int, int]
    networks: int
    depths: tuple[int, ...]
    hard: dict[str, int]
    hard_networks: int
    causal: dict[str, int]
    causal_networks: int
    widths: tuple[int, ...]
    width_depth: int
    width_networks: int


SMALL = Scale(
    sizes={"width": 1024, "heads": 16, "tokens": 32},
    blocks=(24, 48),
    networks=40,
    depths=(6, 12, 24, 48),
    hard={"depth": 8, "width": 256, "heads": 4, "tokens": 64},
    hard_networks=64,
    causal={"depth": 12, "width": 512, "heads": 8, "tokens": 256},
    causal_networks=8,
    widths=(64, 128, 256, 512, 1024),
    width_depth=16,
    width_networks=96,
)
FULL = Scale(
    sizes={"width": 2048, "heads": 32, "tokens": 64},
    blocks=(24, 96),
    networks=64,
    depths=(6, 12, 24, 48, 96),
    hard={"depth": 8, "width": 512, "heads": 8, "tokens": 128},
    hard_networks=128,
    causal={"depth": 12, "width": 1024, "heads": 16, "tokens": 1024},
    causal_networks=16,
    widths=(64, 128, 256, 512, 1024, 2048),
    width_depth=16,
    width_networks=192,
)

#: published models of the table, and their tokens
MODELS = ("bert-base", "gpt2", "llama-3-8b", "qwen3-8b", "gemma-2-9b", "olmo-2-7b", "mixtral-8x7b")
MODEL_TOKENS = 2048

#: logit variance, and sizes, at which positions are held against sampled heads
STRONG = 4.0
STRONG_SIZES = {"depth": 8, "width": 1024, "heads": 16, "tokens": 64}


def _architecture(placement: str, rule: str, **fields: Any) -> st.Architecture:
    return st.Architecture(placement, rule, **fields)


def verifications(scale: Scale) -> list[st.Verification]:
    """Every placement under every rule, at both depths."""
    return [
        st.verify(_architecture(p, s, depth=depth, **scale.sizes), networks=scale.networks, progress=False)
        for depth in scale.blocks
        for s in RULES
        for p in PLACEMENTS
    ]


def gated(scale: Scale) -> list[st.Verification]:
    """The same placements without scaling, with a gated feed-forward branch."""
    return [
        st.verify(
            _architecture(p, "unit", activation="swiglu", depth=scale.blocks[-1], **scale.sizes),
            networks=scale.networks,
            progress=False,
        )
        for p in PLACEMENTS
    ]


def first_gradient(table: pd.DataFrame, column: str) -> float:
    """A column of the squared gradient at layer 0."""
    rows = table[(table["quantity"] == "grad_variance") & (table["stream"] == "0") & (table["layer"] == 0)]
    return float(rows[column].iloc[0])


def gradients_over_depth(scale: Scale) -> pd.DataFrame:
    """Squared gradient at the embedding over that at the output, measured at ``scale.depths``.

    Returns:
        columns placement, scaling, depth, value, se.
    """
    rows = []
    for rule in RULES:
        for placement in RIVALS:
            for depth in scale.depths:
                arch = _architecture(placement, rule, **{**scale.sizes, "depth": depth})
                table = st.verify(arch, networks=scale.networks, progress=False).table
                row: dict[str, Any] = {"placement": placement, "scaling": rule, "depth": depth}
                row["value"] = first_gradient(table, "estimate")
                row["se"] = first_gradient(table, "se")
                rows.append(row)
    return pd.DataFrame(rows)


def gradients_predicted(scale: Scale, depths: Sequence[int]) -> pd.DataFrame:
    """The same from the pair theory."""
    rows = []
    for rule in RULES:
        for placement in RIVALS:
            for depth in depths:
                arch = _architecture(placement, rule, **{**scale.sizes, "depth": depth})
                value = first_gradient(st.predict(arch), "value")
                rows.append({"placement": placement, "scaling": rule, "depth": depth, "value": value})
    return pd.DataFrame(rows)


def ffn_gains(activation: str) -> tuple[float, float]:
    """sigma_f^2 and omega_f^2 at unit input and fan-in initialisation."""
    entry = REGISTERED[activation]
    value, slope = (float(f(1.0, 1.0, 1.0)) for f in (entry.kernel.value, entry.kernel.slope))
    return value, value + slope if entry.gated else slope


def gain_ranges(scale: Scale) -> dict[str, tuple[tuple[float, float], tuple[float, float]]]:
    """Forward and backward gain of each kind of branch over all token correlations, at unit scale."""
    found = gain_intervals(_architecture("span-norm", "unit", depth=scale.blocks[-1], **scale.sizes))
    if found is None:
        raise ValueError("the gains of span-norm are not bounded")
    return found


def hard_regime(scale: Scale) -> pd.DataFrame:
    """Theories over Monte Carlo where attention is strong or masked."""
    return regimes.hard_regime(scale.hard_networks, 0, scale.hard)


def causal_stacks(scale: Scale) -> list[st.Verification]:
    """Unscaled stacks under a causal mask, by the theory with positions."""
    return [
        st.verify(
            _architecture(p, "unit", mask="causal", **scale.causal),
            networks=scale.causal_networks,
            theory="positions",
            progress=False,
        )
        for p in PLACEMENTS
    ]


def keys_off() -> float:
    """The largest relative difference of positions from sampled heads in a weight gradient, at the logit
    variance ``STRONG``, with and without scaling."""
    archs = [
        _architecture(p, s, mask="causal", logit_variance=STRONG, **STRONG_SIZES)
        for p in PLACEMENTS
        for s in RULES
    ]
    table = resolutions.resolutions(archs)
    return float(table.loc[table["quantity"] == "weight_grad_norm", "error"].abs().max())


def models() -> pd.DataFrame:
    """What the theory says of published models.

    Returns:
        columns model, placement, depth, width, first and last (second moment of the stream at the embedding
        and behind the last block), gradient (at the embedding) and cosine (behind the last block).
    """
    rows = []
    for name in MODELS:
        arch = st.model(name, tokens=MODEL_TOKENS).arch
        table = st.predict(arch)
        known = table[table["stream"] == "0"].set_index(["quantity", "layer"])["value"]
        rows.append(
            {
                "model": name,
                "placement": arch.placement,
                "depth": arch.depth,
                "width": arch.width,
                "first": known["variance", 0],
                "last": known["variance", arch.depth],
                "gradient": known["grad_variance", 0],
                "cosine": known["token_cosine", arch.depth],
            }
        )
    return pd.DataFrame(rows)


def width_study(scale: Scale) -> pd.DataFrame:
    """Unscaled stacks at several widths: how their gradient scatters over networks.

    Returns:
        columns placement, width, share (L/d), mean, mean_se, geometric, geometric_se (the arithmetic and the
        geometric mean over networks, over the theory), sd (of the logarithm over networks), sd_se,
        predicted_sd, and allowed (of a verification, on the logarithm).
    """
    rows = []
    for placement, width in product(RIVALS, scale.widths):
        arch = _architecture(
            placement, "unit", width=width, depth=scale.width_depth, heads=max(1, width // 64), tokens=32
        )
        prediction = predict_pair(arch)
        ensemble = st.simulate(arch, networks=scale.width_networks, dtype="float64", progress=False)
        logs = ensemble.samples["0", "grad_variance"][:, 0]
        theory = prediction.profiles["0", "grad_variance"][0]
        ratios, root = np.exp(logs - theory), np.sqrt(len(logs))
        spread, geometric = logs.std(ddof=1), float(np.exp(logs.mean() - theory))
        rows.append(
            {
                "placement": placement,
                "width": width,
                "share": arch.depth / width,
                "mean": float(ratios.mean()),
                "mean_se": float(ratios.std(ddof=1)) / root,
                "geometric": geometric,
                "geometric_se": geometric * spread / root,
                "sd": spread,
                "sd_se": spread / np.sqrt(2 * (len(logs) - 1)),
                "predicted_sd": float(fluctuations(arch, prediction.profiles)["0", "grad_variance"][0]),
                "allowed": float(allowances(arch, prediction.profiles)["0", "grad_variance"][0]),
            }
        )
    study = pd.DataFrame(rows)
    study.attrs["networks"] = scale.width_networks
    return study
