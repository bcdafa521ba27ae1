"""Dense against Mixture-of-Experts: what routing does to rank collapse, as one comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from ..plot.canvas.marks import placement_title
from ..prediction.fixed_points import fixed_points
from ..render.html import paragraph, table, tag
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


def section(routed: Sequence[Routed]) -> str:
    """The comparison as markup; empty if there is none."""
    if not routed:
        return ""
    rows = []
    for r in routed:
        verdict = tag("span", r.verdict, class_="good" if r.passed else "bad")
        rows.append(
            [
                escape(placement_title(r.arch.placement)),
                escape(r.variant),
                f"{r.cosine:.4f}",
                f"{r.estimate:.4f} ± {r.error:.4f}",
                f"{r.settled:.2g}",
                f"{r.imbalance:.2f}",
                verdict,
            ]
        )
    arch = routed[0].arch
    head = [
        "Placement",
        "Branch",
        f"Token cosine at l = {arch.depth}, theory",
        "Monte Carlo",
        "1 - rho where the mean settles",
        "Load imbalance",
        "Theory",
    ]
    text = (
        "Aligned tokens choose the same experts, nearly aligned ones do not: the share of experts that two "
        "tokens have in common falls by the square root of 1 - rho, so that in the mean over pairs and "
        "networks full alignment repels, where a dense branch lets tokens collapse. Pairs that are routed "
        "apart become rare, though: deep stacks with few tokens still collapse in a typical network, and "
        "experts delay it. Load imbalance is the squared coefficient of variation of the experts' loads "
        f"in the last block. No scaling, width {arch.width}, {arch.tokens} tokens."
    )
    return (
        tag("h2", "Dense and Mixture-of-Experts", id="experts")
        + table(head, rows, frozenset({2, 3, 4, 5}))
        + (paragraph(text, class_="note"))
    )
