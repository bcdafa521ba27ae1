"""Write ``generated/``: every number, formula, table and figure of the write-up, from the library.

    python papers/norm-placement/build.py [--full]

The PDF is made from them by latexmk (``make paper``). Equal libraries write equal bytes. ``--full`` simulates
larger networks than the ten minutes of the default allow.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import balance
import figures
import formulas
import measured
import numpy as np
import pandas as pd
import tables
from tables import number

import spannorm_theory as st
from spannorm_theory._version import __version__
from spannorm_theory.base.files import make_folder, write_file
from spannorm_theory.base.jsontext import to_json
from spannorm_theory.plot.canvas.paper import save
from spannorm_theory.prediction.fixed_points import fixed_points

HERE = Path(__file__).parent


def exact(folder: Path) -> dict[str, str]:
    """Write what needs no Monte Carlo, and return its numbers; checks every theorem's formulas."""
    checked = balance.check_balance()
    write_file(folder / "formulas.tex", formulas.macros())
    write_file(folder / "activations.tex", tables.activations())
    write_file(folder / "atlas.tex", tables.atlas())
    save(figures.blocks(), folder / "blocks.pdf")
    published = measured.models()
    write_file(folder / "models.tex", tables.models(published))
    labels: dict[str, list[str]] = {"thm:balance": checked}
    for formula in formulas.FORMULAS:
        labels.setdefault(formula.label, []).append(formula.macro)
    write_file(folder / "checks.json", to_json(labels, indent=1) + "\n")
    gains = {name: measured.ffn_gains(name) for name in measured.ACTIVATIONS}
    sigma, omega = gains["gelu"]
    numbers = {
        "Version": __version__,
        "ModelTokens": f"{measured.MODEL_TOKENS:,}",
        "ModelStd": f"{_standard_deviation(published):g}",
        "PublishedModels": str(len(st.published())),
        "BalancePlacements": str(len(checked)),
        "Placements": str(len(st.placements())),
        "GeluExcess": f"{omega - sigma:.3f}",
        "GeluSpanLimit": f"{np.exp(omega - sigma):.3f}",
        "GeluPostRate": f"{100 * ((1 + omega) / (1 + sigma) - 1):.1f}",
        "SwigluSlope": f"{gains['swiglu'][1] / gains['swiglu'][0]:.3f}",
    }
    a, b = gains["swiglu"]
    numbers |= {f"Gelu{name}": f"{x:.3f}" for name, x in _collapse(sigma, omega).items()}
    swiglu = _collapse(a, b)
    numbers |= {f"Swiglu{name}": f"{swiglu[name]:.3f}" for name in ("PostCollapse", "SpanCollapse")}
    return numbers


def _standard_deviation(published: pd.DataFrame) -> float:
    """That of most embeddings."""
    return float(np.sqrt(published["first"]).round(6).mode().iloc[0])


def _collapse(sigma_f2: float, omega_f2: float) -> dict[str, float]:
    """The checked factors of the collapse theorem, with unit gain of attention."""
    values = {formulas.SA: 1.0, formulas.SF: sigma_f2, formulas.WF: omega_f2}
    shown = [f for f in formulas.FORMULAS if f.label == "thm:collapse"]
    return {f.macro: float(f.shown.doit().subs(values)) for f in shown}


def simulated(folder: Path, scale: measured.Scale) -> dict[str, str]:
    """Write what Monte Carlo shows, and return its numbers."""
    found = measured.verifications(scale)
    gated = measured.gated(scale)
    ranges = measured.gain_ranges(scale)
    depths = sorted({*scale.depths, *np.unique(np.geomspace(3, 1000, 40).astype(int)).tolist()})
    predicted = measured.gradients_predicted(scale, depths)
    hard, widths = measured.hard_regime(scale), measured.width_study(scale)
    at_its_width = hard[hard["case"].isin(tables.HARD)]
    write_file(folder / "accuracy.tex", tables.accuracy(found))
    write_file(folder / "hard.tex", tables.hard(hard))
    write_file(folder / "widths.tex", tables.widths(widths))
    write_file(folder / "causal.tex", tables.causal(measured.causal_stacks(scale)))
    narrowest = widths[widths["placement"] == "span-norm"].iloc[0]
    deepest = [v for v in found if v.arch.depth == scale.blocks[-1]]
    unscaled = [v for v in deepest if v.arch.scaling == "unit"]
    save(figures.profiles(deepest), folder / "profiles.pdf")
    save(figures.ratio(widths), folder / "ratio.pdf")
    save(figures.gradients(measured.gradients_over_depth(scale), predicted, ranges), folder / "gradients.pdf")
    save(figures.collapse(unscaled, gated), folder / "collapse.pdf")
    (low, high), (least, most) = ranges["attention"]
    (sigma, _), (omega, _) = ranges["ffn"]
    numbers = {
        "McWidth": str(scale.sizes["width"]),
        "McShallow": str(scale.blocks[0]),
        "McDepth": str(scale.blocks[-1]),
        "McHeads": str(scale.sizes["heads"]),
        "McTokens": str(scale.sizes["tokens"]),
        "McNetworks": str(scale.networks),
        "McCases": str(len(found)),
        "McPassed": str(sum(v.passed for v in found)),
        "GatedCases": str(len(gated)),
        "GatedPassed": str(sum(v.passed for v in gated)),
        "McThreshold": f"{max(v.threshold for v in found):.1f}",
        "SigmaLow": f"{low:.3f}",
        "SigmaHigh": f"{high:.2f}",
        "OmegaLow": f"{least:.3f}",
        "OmegaHigh": f"{most:.2f}",
        "PostLimitLow": f"{np.exp(omega - sigma - high):.2f}",
        "PostLimitHigh": f"{np.exp(omega - sigma + most):.2f}",
        "HardWidth": str(scale.hard["width"]),
        "HardDepth": str(scale.hard["depth"]),
        "HardTokens": str(scale.hard["tokens"]),
        "HardNetworks": str(scale.hard_networks),
        "SweepDepth": str(scale.width_depth),
        "SweepNetworks": str(scale.width_networks),
        "HardWorst": f"{((at_its_width['pair'] - 1).abs() / at_its_width['pair_se']).max():.1f}",
        "RatioNetworks": str(scale.width_networks),
        "DeepestMeasured": str(scale.depths[-1]),
        "DeepestRatio": f"{scale.depths[-1] / scale.sizes['width']:.3f}",
        "CausalDepth": str(scale.causal["depth"]),
        "CausalWidth": str(scale.causal["width"]),
        "CausalTokens": str(scale.causal["tokens"]),
        "CausalNetworks": str(scale.causal_networks),
        "NarrowestWidth": str(narrowest["width"]),
        "NarrowestShare": f"{narrowest['share']:g}",
        "SpanMeanAbove": f"{100 * (narrowest['mean'] - 1):.0f}",
        "SpanGeometricAbove": f"{100 * (narrowest['geometric'] - 1):.0f}",
        "StrongAt": f"{measured.STRONG:g}",
        "KeysOff": f"{100 * measured.keys_off():.0f}",
        "PublishedWorst": f"{1 / at_its_width['published'].min():.0f}",
        "PublishedAt": _logit_variance(at_its_width.loc[at_its_width["published"].idxmin(), "case"]),
        "PublishedFanIn": f"{100 * (1 - float(at_its_width['published'].iloc[0])):.0f}",
        "FanInAt": _logit_variance(at_its_width["case"].iloc[0]),
    }
    for placement, name in (("post-norm", "Post"), ("span-norm", "Span")):
        rows = predicted[predicted["placement"] == placement].set_index(["scaling", "depth"])["value"]
        numbers[f"{name}Deep"] = number(float(rows["unit", 1000]), 2)
        numbers[f"{name}DeepScaled"] = f"{rows['depth-scaled-init', 1000]:.3f}"
    numbers["DeepDepth"] = "1000"
    settled = fixed_points(next(v.arch for v in gated if v.arch.placement == "span-norm"))
    below = [point.rho for point in settled if point.attracts]
    numbers["SwigluSpanRho"] = f"{below[0]:.3f}"
    return numbers


def _logit_variance(case: str) -> str:
    return case.removeprefix("logit variance ")


def build(folder: Path, scale: measured.Scale) -> None:
    """Write everything into ``folder``."""
    make_folder(folder)
    numbers = exact(folder) | simulated(folder, scale)
    lines = [rf"\newcommand{{\{name}}}{{\ensuremath{{{value}}}}}" for name, value in sorted(numbers.items())]
    write_file(folder / "numbers.tex", "\n".join(lines) + "\n")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="larger networks; takes far longer")
    build(HERE / "generated", measured.FULL if parser.parse_args().full else measured.SMALL)
    return 0


if __name__ == "__main__":
    sys.exit(main())
