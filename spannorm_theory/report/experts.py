"""Dense against Mixture-of-Experts: what routing does to rank collapse, as one comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..prediction.fixed_points import fixed_points
from ..spec.architecture import Architecture
from ..verification.outcome import Verification
from ..verification.verification import verify

#: experts replace the branch of these, where the report has them
PLACEMENTS = ("post-norm", "pre-norm")

#: name, and the fields of an architecture
VARIANTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("dense", {}),
    ("2 of 8 experts", {"experts": 8, "top_k": 2}),
    ("Switch, 1 of 8", {"experts": 8, "top_k": 1, "gates": "softmax"}),
)

#: blocks at most: experts cost as many products as there are of them
DEPTH = 12


@dataclass(frozen=True)
class Routed:
    """One placement with one kind of feed-forward branch, without scaling.

    Attributes:
        cosine, estimate, error: token cosine behind the last block, in theory and by Monte Carlo.
        imbalance: squared coefficient of variation of the experts' loads in the last block; 0 if dense.
        settled: 1 - rho at the attracting fixed point of the last block.
    """

    arch: Architecture
    variant: str
    cosine: float
    estimate: float
    error: float
    imbalance: float
    settled: float
    verdict: str
    passed: bool


def compute(archs: Sequence[Architecture], networks: int, seed: int) -> list[Routed]:
    """Verify the variants of the report's PostNorm and PreNorm; nothing if it has neither, or experts of its
    own, or a mask."""
    found = []
    for name in PLACEMENTS:
        base = next((arch for arch in archs if arch.placement == name and _plain(arch)), None)
        for variant, fields in VARIANTS if base is not None else ():
            assert base is not None
            arch = base.with_(scaling="unit", depth=min(base.depth, DEPTH), **fields)
            result = verify(arch, networks=networks, seed=seed, progress=False)
            found.append(_routed(variant, result))
    return found


def _plain(arch: Architecture) -> bool:
    """Whether an architecture is one that experts can be put into, and its tokens are alike."""
    return arch.experts == 1 and arch.exchangeable


def _routed(variant: str, result: Verification) -> Routed:
    arch, rows = result.arch, result.table
    last = rows[(rows["quantity"] == "token_cosine") & (rows["layer"] == arch.depth)].iloc[0]
    loads = rows[rows["quantity"] == "load_imbalance"]["theory"]
    attracting = [point.rho for point in fixed_points(arch) if point.attracts]
    return Routed(
        arch,
        variant,
        float(last["theory"]),
        float(last["estimate"]),
        float(last["se"]),
        float(loads.iloc[-1]) if len(loads) else 0.0,
        1 - attracting[-1] if attracting else float("nan"),
        result.verdict,
        result.passed,
    )
