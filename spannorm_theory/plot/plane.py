"""The theory over a plane of depth and branch scale, for any architecture."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from sympy import Expr, Rational

from ..base import arguments
from ..base.errors import AssumptionError
from ..base.quantities import QUANTITIES
from ..prediction.predict import predict_profiles
from ..spec.architecture import Architecture
from ..spec.arguments import architecture
from ..spec.scaling import SCALINGS, Multipliers, ScalingRule
from .canvas.marks import placement_label
from .canvas.paper import axes_or_none
from .phase import phase_map

#: the plane that is drawn where none is asked for, and points of each axis between its ends
DEPTHS, SCALES, POINTS = (2, 96), (0.125, 2.0), 25


def branch_map(
    arch: Architecture | str,
    quantity: str = "token_cosine",
    *,
    depths: Sequence[int] = DEPTHS,
    scales: Sequence[float] = SCALES,
    points: int = POINTS,
    ax: Axes | None = None,
) -> Axes:
    """Draw what the theory says of stacks over their depth and a factor on all their branches.

    Args:
        arch: an architecture or its text form: all but the depth; the factor goes on top of its scaling rule.
        quantity: a name in ``QUANTITIES``: of the embedding where it is of gradients, else of the output.
        depths, scales: the ends of the axes, both logarithmic.
        points: computed along each axis.
        ax: draw here instead of on a figure of its own.

    Returns:
        the axes.

    Raises:
        InputError: a value that cannot be used, or a plane without numbers.

    Example:
        >>> import spannorm_theory as st
        >>> small = "span-norm unit width=64 heads=2 tokens=8"
        >>> st.plot.branch_map(small, "token_cosine", depths=(2, 8), points=3).get_yscale()
        'log'
    """
    arch, points = architecture(arch), arguments.whole("points", points, 2)
    quantity, ax = arguments.choice("quantity", quantity, QUANTITIES), axes_or_none(ax)
    shallow, deep = sorted(arguments.whole("depths", d, 1) for d in _two("depths", depths))
    least, most = sorted(arguments.number("scales", s) for s in _two("scales", scales))
    plane = branch_plane(
        arch,
        sorted(set(np.geomspace(shallow, deep, points).round().astype(int).tolist())),
        np.geomspace(least, most, points).tolist(),
        quantity,
    )
    labels = {"depth": "depth $L$", "branch_scale": "branch scale"}
    title = f"{placement_label(arch.placement)}, {arch.scaling}"
    return phase_map(plane, "depth", "branch_scale", quantity, labels=labels, title=title, ax=ax)


def _two(name: str, ends: Sequence[float]) -> list[float]:
    found = arguments.items(name, ends, "two ends")
    arguments.whole(f"the number of {name}", len(found), 2, 2)
    return found


def branch_plane(
    arch: Architecture, depths: Sequence[int], scales: Sequence[float], quantity: str, stream: str = "0"
) -> pd.DataFrame:
    """Depth, branch_scale and theory of each point, the logarithm where the quantity is logarithmic; NaN
    outside the theory's assumptions."""
    layer = 0 if "grad" in quantity else -1
    rows = []
    with SCALINGS.temporarily():
        for scale in scales:
            rule = scaled(SCALINGS[arch.scaling], scale)
            SCALINGS.add(rule, replace=True)
            for depth in depths:
                try:
                    profiles = predict_profiles(arch.with_(scaling=rule.name, depth=depth)).profiles
                    value = float(profiles[stream, quantity][layer])
                except AssumptionError:
                    value = float("nan")
                rows.append((depth, scale, value))
    return pd.DataFrame(rows, columns=["depth", "branch_scale", "theory"])


def scaled(rule: ScalingRule, scale: float) -> ScalingRule:
    """A rule with a further constant factor on the output of every branch, in the forward pass."""
    factor = Rational(Fraction(scale).limit_denominator(10**6))

    def scaled_rule(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
        """A rule times a constant."""
        return rule.multipliers(sublayer) * Multipliers(branch=factor)

    return ScalingRule(
        f"branches-{factor.p}-{factor.q}",
        f"{rule.title}, branches x {scale:g}",
        rule.source,
        scaled_rule,
        rule.year,
        lambda L, d: rule.embedding_factor,
        rule.only,
    )
