r"""Statements of the literature that contradict each other or their code, put to the test.

An :class:`Audit` is one number of one architecture: what the claim says it is, what the engine derives, and
what Monte Carlo measures. Derivation and measurement apply the same statistic, once to the predicted
profiles and once to the profiles of an ensemble, averaged over networks (squared norms as such), with the
jackknife's standard error. ``python -m spannorm_theory.audits > docs/audits.md`` writes the table.

All of it is at initialisation, on the unit block (ReLU, every branch of second moment 1 on unit input) where
nothing else is said. Widths are finite: engine and measurement agree if they differ by less than
``AGREEMENT`` of the number and ``ERRORS`` standard errors together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import log, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .architecture import Architecture
from .components.kernels import Array
from .quantities import QUANTITIES, Key
from .theory.predict import predict_profiles

Statistic = Callable[[Mapping[Key, Array]], float]

#: relative difference that a finite width may make, and standard errors that chance may
AGREEMENT, ERRORS = 0.1, 4.0

#: networks of a measurement
NETWORKS = 8

UNIT: dict[str, Any] = {
    "activation": "relu",
    "init": "unit-branch",
    "width": 128,
    "heads": 4,
    "tokens": 32,
}


def norm_ratio(stream: str, quantity: str, first: int = 0, last: int = -1) -> Statistic:
    """Gradient norm at layer ``first`` over that at layer ``last``."""
    key = (stream, quantity)
    return lambda profiles: float(np.exp((profiles[key][first] - profiles[key][last]) / 2))


def last_variance(profiles: Mapping[Key, Array]) -> float:
    """q after the last block."""
    return float(np.exp(profiles["0", "variance"][-1]))


def variance_ratio(layer: int, over: int) -> Statistic:
    """q at ``layer`` over q at layer ``over``."""
    return lambda profiles: float(np.exp(profiles["0", "variance"][layer] - profiles["0", "variance"][over]))


def growth(profiles: Mapping[Key, Array]) -> float:
    """What the blocks add to q, over the input's."""
    log_q = profiles["0", "variance"]
    return float(np.expm1(log_q[-1] - log_q[0]))


def last_cosine(profiles: Mapping[Key, Array]) -> float:
    """Cosine of the stream before and after the last block."""
    return float(profiles["0", "layer_cosine"][-1])


def output_share(profiles: Mapping[Key, Array]) -> float:
    """Gradient norm of the last block's attn.output over that of its ffn.down: it is proportional to the
    size of the values."""
    attention, ffn = (profiles[name, "weight_grad_norm"][-1] for name in ("attn.output", "ffn.down"))
    return float(np.exp((attention - ffn) / 2))


@dataclass(frozen=True)
class Measured:
    """A Monte Carlo estimate with its standard error over networks."""

    value: float
    se: float


@dataclass(frozen=True)
class Audit:
    """One claim, in our own words, and the number that decides it.

    Attributes:
        id: the claim's number in the catalogue of contradictions.
        quantity: what the number is.
        claimed: what the claim makes of it.
        stands: whether the engine comes to the same.
    """

    id: str
    claim: str
    source: str
    quantity: str
    claimed: float
    arch: Architecture
    statistic: Statistic
    stands: bool = False

    @cached_property
    def derived(self) -> float:
        """The number by the theory."""
        return self.statistic(predict_profiles(self.arch).profiles)

    def measure(self, networks: int = NETWORKS) -> Measured:
        """The number by Monte Carlo: the statistic of the mean profiles, and its jackknife error."""
        samples = _samples(self.arch, networks)
        rows = np.arange(networks)
        parts = np.array([self.statistic(_mean(samples, rows != left)) for left in rows])
        se = sqrt((networks - 1) * float(((parts - parts.mean()) ** 2).mean()))
        return Measured(self.statistic(_mean(samples, rows >= 0)), se)

    def engine_agrees(self, measured: Measured) -> bool:
        """Whether theory and measurement are the same number."""
        return self._same(self.derived, measured)

    def claim_agrees(self, measured: Measured) -> bool:
        """Whether claim and measurement are the same number."""
        return self._same(self.claimed, measured)

    def _same(self, value: float, measured: Measured) -> bool:
        return abs(value - measured.value) <= AGREEMENT * abs(measured.value) + ERRORS * measured.se


@lru_cache(maxsize=32)
def _samples(arch: Architecture, networks: int) -> Mapping[Key, Array]:
    from .montecarlo.ensemble import simulate

    return simulate(arch, networks=networks, dtype="float64", progress=False).samples


def _mean(samples: Mapping[Key, Array], rows: NDArray[np.bool_]) -> dict[Key, Array]:
    """Profiles averaged over some networks; logarithms are those of means."""
    with np.errstate(divide="ignore"):
        return {
            key: np.log(np.exp(s[rows]).mean(0)) if QUANTITIES[key[1]].logarithmic else s[rows].mean(0)
            for key, s in samples.items()
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


HEAD = """# Audits

Statements of the literature that contradict each other or their code, each as one number: what the claim
makes of it, what the engine derives, and what Monte Carlo measures on {networks} networks of width
{width} with {tokens} tokens (standard error in brackets). All at initialisation, on the unit block where
nothing else is said; a claim about trained networks may be right about those.

Written by `python -m spannorm_theory.audits > docs/audits.md`; `tests/test_audits.py` repeats it.

| | claim | number | claimed | derived | measured | the claim |
|---|---|---|---|---|---|---|
"""

FOOT = """
The logarithmic law of PreNorm gradients in the paper of ResiDual is not audited: its statement was not at
hand.
"""


def document(networks: int = NETWORKS) -> str:
    """The table in Markdown."""
    rows = []
    for audit in audits():
        found = audit.measure(networks)
        verdict = "stands" if audit.claim_agrees(found) else "does not stand"
        if not audit.engine_agrees(found):
            verdict = "open: engine and measurement differ"
        link = f"[source]({audit.source})" if audit.source.startswith("https") else audit.source
        rows.append(
            f"| {audit.id} | {audit.claim} ({link}) | {audit.quantity} | {audit.claimed:.3g} | "
            f"{audit.derived:.3g} | {found.value:.3g} ({found.se:.1g}) | {verdict} |\n"
        )
    head = HEAD.format(networks=networks, width=UNIT["width"], tokens=UNIT["tokens"])
    return head + "".join(rows) + FOOT


if __name__ == "__main__":
    print(document(), end="")
