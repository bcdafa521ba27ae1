"""The theory over a plane of depth and branch scale, for any architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from sympy import Expr, Rational

from ..base import arguments
from ..base.errors import AssumptionError, InputError
from ..base.quantities import QUANTITIES, Array, Key
from ..base.waiting import blocks_bar
from ..prediction.positions import carries
from ..prediction.predict import fitting, predict_profiles
from ..spec.architecture import Architecture
from ..spec.arguments import architecture
from ..spec.scaling import SCALINGS, Multipliers, ScalingRule
from .canvas.marks import placement_label
from .canvas.paper import axes_or_none
from .phase import phase_map

#: the plane that is drawn where none is asked for
DEPTHS, SCALES = (2, 96), (0.125, 2.0)

#: points of each axis, and where tokens are unlike, for a block then takes milliseconds
POINTS, FEW = 25, 11


def branch_map(
    arch: Architecture | str,
    quantity: str = "token_cosine",
    *,
    stream: str | None = None,
    depths: Sequence[int] = DEPTHS,
    scales: Sequence[float] = SCALES,
    points: int | None = None,
    progress: bool | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw what the theory says of stacks over their depth and a factor on all their branches.

    Args:
        arch: an architecture or its text form: all but the depth; the factor goes on top of its scaling rule.
        quantity: a name in ``QUANTITIES``: of the embedding, or the first block, where it is of gradients,
            else of the output.
        stream: whose; of a weight gradient the matrix, as "ffn.up". None takes the only one, or stream "0".
        depths, scales: the ends of the axes, both logarithmic.
        points: computed along each axis; None takes 25, or 11 where tokens are unlike, as under a mask.
        progress: False shows no bar; otherwise there is one after two seconds.
        ax: draw here instead of on a figure of its own.

    Returns:
        the axes.

    Raises:
        InputError: a value that cannot be used, a stream or matrix that does not have the quantity, or a
            plane without numbers.

    Example:
        >>> import spannorm_theory as st
        >>> small = "span-norm unit width=64 heads=2 tokens=8"
        >>> st.plot.branch_map(small, "token_cosine", depths=(2, 8), points=3).get_yscale()
        'log'
    """
    arch = architecture(arch)
    if points is None:
        points = POINTS if fitting(arch) == "pair" else FEW
    points = arguments.whole("points", points, 2)
    quantity, ax = arguments.choice("quantity", quantity, QUANTITIES), axes_or_none(ax)
    shallow, deep = sorted(arguments.whole("depths", d, 1) for d in _two("depths", depths))
    least, most = sorted(arguments.number("scales", s) for s in _two("scales", scales))
    plane = branch_plane(
        arch,
        sorted(set(np.geomspace(shallow, deep, points).round().astype(int).tolist())),
        np.geomspace(least, most, points).tolist(),
        quantity,
        stream,
        progress is not False,
    )
    where = "at the embedding" if "grad" in quantity else "at the top"
    if quantity == "weight_grad_norm":
        where = "of the first block"
    label = f"{QUANTITIES[quantity].label} ${QUANTITIES[quantity].latex}$ {where}"
    labels = {"depth": "depth $L$", "branch_scale": "branch scale", "value": label}
    mask = f", {arch.mask} mask" if arch.mask != "none" else ""
    title = f"{placement_label(arch.placement)}, {arch.scaling}{mask}, $n={arch.tokens}$"
    return phase_map(plane, "depth", "branch_scale", quantity, labels=labels, title=title, ax=ax)


def _two(name: str, ends: Sequence[float]) -> list[float]:
    found = arguments.items(name, ends, "two ends")
    arguments.whole(f"the number of {name}", len(found), 2, 2)
    return found


def branch_plane(
    arch: Architecture,
    depths: Sequence[int],
    scales: Sequence[float],
    quantity: str,
    stream: str | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Depth, branch_scale and theory of each point, the logarithm where the quantity is logarithmic; NaN
    outside the theory's assumptions. One theory makes the whole plane: where tokens are unlike, positions as
    a coordinate where they can be one, which take a tenth of what sampled heads do.

    Raises:
        InputError: a stream or matrix that does not have the quantity.
    """
    layer = 0 if "grad" in quantity else -1
    theory = "positions" if fitting(arch) != "pair" and carries(arch) else "auto"
    rows = []
    with (
        SCALINGS.temporarily(),
        blocks_bar(len(scales) * sum(depths), progress, "map") as bar,
    ):
        for scale in scales:
            rule = scaled(SCALINGS[arch.scaling], scale)
            SCALINGS.add(rule, replace=True)
            for depth in depths:
                try:
                    point = arch.with_(scaling=rule.name, depth=depth)
                    value = float(_profile(predict_profiles(point, theory).profiles, quantity, stream)[layer])
                except AssumptionError:
                    value = float("nan")
                rows.append((depth, scale, value))
                bar.update(depth)
    return pd.DataFrame(rows, columns=["depth", "branch_scale", "theory"])


def _profile(profiles: Mapping[Key, Array], quantity: str, stream: str | None) -> Array:
    """The profile of a stream's quantity; without one that of the only stream, or of stream "0".

    Raises:
        InputError: no stream has it, or not this one; or several have, none of them "0".
    """
    known = [of for of, name in profiles if name == quantity]
    if not known:
        given = ", ".join(dict.fromkeys(name for _, name in profiles))
        raise InputError(f"the theory has no {quantity} of this architecture; it has {given}")
    if stream is None and len(known) > 1 and "0" not in known:
        raise InputError(f"{quantity} is that of a matrix; say which by stream=, one of {', '.join(known)}")
    chosen = (known[0] if len(known) == 1 else "0") if stream is None else stream
    return profiles[arguments.choice("stream", chosen, known), quantity]


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
