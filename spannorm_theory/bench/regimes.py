"""Regimes in which closures part from Monte Carlo: strong attention, masks, and networks too deep for their
width."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import sqrt

import pandas as pd

from ..montecarlo.ensemble import Ensemble, simulate
from ..prediction.exchangeable import predict_pair
from ..prediction.prediction import Prediction
from ..spec.architecture import Architecture
from ..verification.allowances import fluctuations
from ..verification.verification import precision
from .accuracy import errors, predictions

#: pre-norm ReLU: the stack on which published closures are known to fail
HARD = {"depth": 8, "width": 512, "heads": 8, "tokens": 128, "activation": "relu"}
HARD_NETWORKS = 128
LOGIT_VARIANCES = (1.0, 4.0, 16.0)

#: widths of the sweep, and coordinates of its heads
WIDTHS = (128, 256, 512, 1024, 2048)
HEAD_WIDTH = 64
#: unscaled, where gradients scatter most
SWEPT_PLACEMENTS = ("post-norm", "span-norm")
SWEPT = {"depth": 24, "tokens": 32}

#: logits so small that attention is uniform and its query and key paths carry nothing
NO_LOGITS = 1e-9


def published(arch: Architecture) -> Prediction:
    """The closure in use elsewhere: uniform attention over all tokens, P2 = P11 = 1/n, and gradients
    through the values alone. It is the pair theory in the limit of vanishing logits, without a mask."""
    return predict_pair(arch.with_(logit_variance=NO_LOGITS, mask="none"))


def hard_cases(sizes: dict[str, int] | None = None) -> dict[str, Architecture]:
    """The architectures of :func:`hard_regime` by name; ``sizes`` replaces some of ``HARD``."""
    base = Architecture("pre-norm", **{**HARD, **(sizes or {})})  # type: ignore[arg-type]
    found = {f"logit variance {v:g}": base.with_(logit_variance=v) for v in LOGIT_VARIANCES}
    strongest = base.with_(logit_variance=max(LOGIT_VARIANCES))
    others = {f"{h} heads": strongest.with_(heads=h) for h in (base.heads // 2, 2 * base.heads)}
    for factor in (Fraction(1, 2), 2):  # heads of one width
        width, heads = int(base.width * factor), int(base.heads * factor)
        others[f"width {width}"] = strongest.with_(width=width, heads=heads)
    found |= {f"logit variance {max(LOGIT_VARIANCES):g}, {name}": arch for name, arch in others.items()}
    return {**found, "causal": base.with_(mask="causal", logit_variance=1.0)}


def hard_regime(
    networks: int = HARD_NETWORKS,
    seed: int = 0,
    sizes: dict[str, int] | None = None,
    progress: Callable[[str], object] = lambda line: None,
) -> pd.DataFrame:
    """Squared gradient at layer 0, theory over Monte Carlo.

    Returns:
        columns case, networks, mc_se (relative), and for each theory its ratio to Monte Carlo and the
        ratio's standard error: pair, pair_se, positions, positions_se, sampled,
        sampled_se, published, published_se.
    """
    rows = []
    for name, arch in hard_cases(sizes).items():
        progress(f"hard regime: {name}")
        ensemble = simulate(arch, networks=networks, seed=seed, progress=False)
        elsewhere = _ratio("published", published(arch), ensemble)
        rows.append({"case": name, **gradient_ratios(arch, ensemble), **elsewhere})
    return pd.DataFrame(rows)


def width_sweep(
    archs: Sequence[Architecture],
    widths: Sequence[int] = WIDTHS,
    networks: int = 64,
    seed: int = 0,
    progress: Callable[[str], object] = lambda line: None,
) -> pd.DataFrame:
    """Ratios of theories to Monte Carlo, and the scatter of gradients, by width (heads of ``HEAD_WIDTH``).

    Args:
        networks: at the largest width; smaller ones take as many more as they are narrower.

    Returns:
        the columns of :func:`hard_regime` for the theories that hold, after placement, scaling, width and
        depth_over_width; geometric is the geometric over the arithmetic mean of Monte Carlo, log_variance
        (with log_variance_se) the variance of the squared gradient's logarithm over networks, and
        stated_variance what :mod:`spannorm_theory.verification.allowances` says of it.
    """
    rows = []
    for arch in archs:
        for width in widths:
            progress(f"width sweep: {arch.placement} {width}")
            here = arch.with_(width=width, heads=max(1, width // HEAD_WIDTH))
            wide = predict_pair(here)
            count = networks * max(widths) // width
            ensemble = simulate(here, networks=count, seed=seed, dtype=precision(wide), progress=False)
            place = {"placement": here.placement, "scaling": here.scaling, "width": width}
            place["depth_over_width"] = here.depth / width
            spread = float(ensemble.samples["0", "grad_variance"][:, 0].var(ddof=1))
            stated = float(fluctuations(here, wide.profiles)["0", "grad_variance"][0]) ** 2
            place |= {
                "log_variance": spread,
                "log_variance_se": spread * sqrt(2 / (count - 1)),  # of a normal logarithm
                "stated_variance": stated,
            }
            rows.append({**place, **gradient_ratios(here, ensemble)})
    return pd.DataFrame(rows)


def gradient_ratios(arch: Architecture, ensemble: Ensemble) -> dict[str, float]:
    """Squared gradient at layer 0: each theory over Monte Carlo."""
    table = ensemble.table
    first = table[(table["quantity"] == "grad_variance") & (table["stream"] == "0") & (table["layer"] == 0)]
    result = {
        "networks": float(ensemble.networks),
        "mc_se": float(first["relative_se"].iloc[0]),
        "geometric": float(first["geometric"].iloc[0] / first["value"].iloc[0]),
    }
    for prediction in predictions(arch).values():
        result.update(_ratio(prediction.theory, prediction, ensemble))
    return result


def _ratio(name: str, prediction: Prediction, ensemble: Ensemble) -> dict[str, float]:
    found = errors(prediction, ensemble)
    here = (found["quantity"] == "grad_variance") & (found["stream"] == "0") & (found["layer"] == 0)
    ratio = 1 + float(found.loc[here, "error"].iloc[0])
    return {name: ratio, f"{name}_se": ratio * float(found.loc[here, "se"].iloc[0])}
