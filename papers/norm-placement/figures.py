"""The figures of the write-up: theory as lines, Monte Carlo as points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from measured import PLACEMENTS, RIVALS, RULES, ffn_gains

import spannorm_theory as st
from spannorm_theory.base import symbols
from spannorm_theory.derivation.rank_collapse import collapse_factor
from spannorm_theory.gaussian.activations import ACTIVATIONS
from spannorm_theory.plot.canvas.marks import placement_style, placement_title
from spannorm_theory.plot.canvas.paper import new_figure, paper
from spannorm_theory.plot.canvas.series import Look, handle

#: inches of text that a figure has
WIDTH = 6.5

#: factor between a slope and the line that it goes with
OFFSET = 0.6

Ranges = dict[str, tuple[tuple[float, float], tuple[float, float]]]


def profiles(verifications: Sequence[st.Verification]) -> Figure:
    """Variance and gradient against depth, without and with scaling."""
    tables = [found.table for found in verifications]
    quantities = ("variance", "grad_variance", "rank_collapse")
    return st.plot.comparison(tables, quantities, width=WIDTH, height=5.0)


def blocks() -> Figure:
    """One block of each placement, side by side."""
    with paper():
        figure = new_figure(WIDTH, 2.6)
        axes = figure.subplots(1, len(PLACEMENTS))
        for ax, placement in zip(axes, PLACEMENTS, strict=True):
            st.plot.block_diagram(placement, ax=ax)
    tallest = max(_height(ax) for ax in axes)
    for ax in axes:  # one scale, and every block from one line up
        for text in (*ax.texts, ax.title):
            text.set_fontsize(text.get_fontsize() * _height(ax) / tallest)
        bottom, _ = ax.get_ylim()
        ax.set_ylim(bottom, bottom + tallest)
    return figure


def _height(ax: Axes) -> float:
    bottom, top = ax.get_ylim()
    return float(top - bottom)


def ratio(study: pd.DataFrame) -> Figure:
    """Monte Carlo over theory of the gradient at the embedding, against depth over width."""
    with paper():
        figure = new_figure(WIDTH, 2.4)
        axes = figure.subplots(1, len(RIVALS), sharey=True)
        for ax, placement in zip(axes, RIVALS, strict=True):
            rows = study[study["placement"] == placement].sort_values("share")
            style, x = placement_style(placement), rows["share"]
            ax.fill_between(x, np.exp(-rows["allowed"]), np.exp(rows["allowed"]), color="0.92", linewidth=0)
            ax.axhline(1.0, color="0.5", linewidth=0.6)
            ax.plot(x, np.exp(-(rows["predicted_sd"] ** 2) / 2), color=style.colour, linestyle=":")
            ax.errorbar(x, rows["mean"], rows["mean_se"], **style.points, elinewidth=0.8)
            hollow = replace(style, hollow=True).points
            ax.errorbar(x, rows["geometric"], rows["geometric_se"], **hollow, elinewidth=0.8)
            ax.set(xscale="log", xlabel="depth over width, $L/d$", title=placement_title(placement))
            ax.set_xticks(x, [f"{share:.2g}" for share in x])
            ax.minorticks_off()
            ax.grid(visible=True, color="0.92", linewidth=0.5)
        axes[0].set_ylabel(r"$\gamma_0$, Monte Carlo over theory")
    return figure


def gradients(measured: pd.DataFrame, predicted: pd.DataFrame, ranges: Ranges) -> Figure:
    """The gradient ratio of the whole stack against its depth, and what the skip path alone would give."""
    (_, sigma_a), (_, omega_a) = ranges["attention"]
    (sigma_f, _), (omega_f, _) = ranges["ffn"]
    known = {"sigma_a^2": sigma_a, "sigma_f^2": sigma_f, "omega_a^2": omega_a, "omega_f^2": omega_f}
    with paper():
        figure = new_figure(WIDTH, 2.5)
        axes = figure.subplots(1, 2)
        for ax, rule in zip(axes, RULES, strict=True):
            for placement in RIVALS:
                style = placement_style(placement)
                line = predicted[(predicted["placement"] == placement) & (predicted["scaling"] == rule)]
                points = measured[(measured["placement"] == placement) & (measured["scaling"] == rule)]
                name = placement_title(placement)
                ax.plot(line["depth"], line["value"], **style.line, label=f"{name}, gradient")
                ax.errorbar(points["depth"], points["value"], points["se"], **style.points, elinewidth=0.8)
                if rule == "unit":
                    depths = line["depth"].to_numpy()
                    skip = _numbers(st.derive(placement, rule).step.identity[0], known)
                    skip_path = {"color": style.colour, "linestyle": ":", "label": f"{name}, skip path"}
                    ax.plot(depths, skip ** (2.0 * depths), **skip_path)
            ax.set(xscale="log", xlabel="depth $L$", title=f"scaling: {rule}")
            ax.grid(visible=True, color="0.92", linewidth=0.5)
        axes[0].set(yscale="log", ylabel=r"$\gamma_0/\gamma_L$", ylim=(1e-9, 1e11))
        axes[0].legend(loc="upper left")
        colour = placement_style("span-norm").colour
        axes[1].axhline(np.exp(omega_f - sigma_f), color=colour, linestyle=":", label="SpanNorm, limit")
        axes[1].set(ylim=(1.0, 1.12))
        axes[1].legend(loc="center right", bbox_to_anchor=(1.0, 0.53))
    return figure


def _numbers(expression: Any, known: dict[str, float]) -> float:
    return float(expression.subs({s: known[s.name] for s in expression.free_symbols}))


def collapse(plain: Sequence[st.Verification], gated: Sequence[st.Verification]) -> Figure:
    """Distance from alignment with plain and gated feed-forward branches, and its slope near alignment."""
    with paper():
        figure = new_figure(WIDTH, 2.7)
        axes = figure.subplots(1, 2)
        for ax, found in zip(axes, (plain, gated), strict=True):
            st.plot.rank_collapse([v.table for v in found], ax=ax, names=False)
            ax.grid(visible=True, color="0.92", linewidth=0.5)
            for verification in found:
                _slope(ax, verification)
            ax.set_title(f"{ACTIVATIONS[found[0].arch.activation].title}, no scaling")
        axes[1].set_ylabel("")
        handles = [handle(Look(placement_style(v.arch.placement), _title(v))) for v in plain]
        handles.append(Line2D([], [], color="0.35", linestyle=":", label="slope near alignment"))
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


def _title(verification: st.Verification) -> str:
    return placement_title(verification.arch.placement)


def _slope(ax: Axes, verification: st.Verification) -> None:
    """The factor near alignment, a block at a time, below the second half of the theory's line."""
    arch = verification.arch
    factor = collapse_factor(st.derive(arch.placement).step)
    if factor.has(symbols.variance):
        return  # a power law
    sigma, omega = ffn_gains(arch.activation)
    value = _numbers(factor, {"sigma_a^2": 1.0, "sigma_f^2": sigma, "omega_f^2": omega})
    rows = verification.table[verification.table["quantity"] == "token_cosine"]
    ends = 1 - rows["theory"].to_numpy()
    layers = np.arange(arch.depth // 2, arch.depth + 1)
    line = ends[layers[0]] * value ** (layers - float(layers[0]))
    ax.plot(layers, OFFSET * line, color=placement_style(arch.placement).colour, linestyle=":")
