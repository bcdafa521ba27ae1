"""Phase diagrams that can be asked for by name: a plane of architectures, measured and predicted.

Importing this module registers the scaling rules that the planes need; workers import it too.
``branch-scale-<a>`` multiplies every branch output by a, in the forward pass. ``balance-<r>`` multiplies
the standard deviations of ffn.down and attn.output by r^(1/4) and r^(-1/4): the ratio of the two branches'
second moments, sigma_f^2 / sigma_a^2, is r times what it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sympy import Expr, Rational, root

from ..base.errors import AssumptionError, InputError, UnknownNameError
from ..base.files import make_folder, require_folder
from ..base.quantities import QUANTITIES
from ..spec.architecture import Architecture
from ..spec.scalings import Multipliers, scaling
from ..sweeps.cells import specify
from ..sweeps.run import Sweep, run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: factors for which rules are registered
BRANCH_SCALES = (0.125, 0.1875, 0.25, 0.375, 0.5, 0.75, 1.0, 1.5, 2.0)
BALANCES = (0.0625, 0.25, 0.5, 1.0, 2.0, 4.0, 16.0)
OWN = "this package"


def _branch(scale: float) -> Callable[..., Multipliers]:
    def rule(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
        """Every branch output times a constant, in the forward pass."""
        return Multipliers(branch=Rational(scale))

    return rule


def _balance(ratio: float) -> Callable[..., Multipliers]:
    def rule(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
        """attn.output and ffn.down times constants whose product is 1, so that the ratio of the two
        branches' second moments is multiplied by another."""
        quarter = root(Rational(ratio), 4)
        return Multipliers(gains={"ffn.down": quarter, "attn.output": 1 / quarter})

    return rule


for _scale in BRANCH_SCALES:
    scaling(f"branch-scale-{_scale}", title=f"branches x {_scale}", source=OWN)(_branch(_scale))
for _ratio in BALANCES:
    scaling(f"balance-{_ratio}", title=f"ffn over attention x {_ratio}", source=OWN)(_balance(_ratio))


@dataclass(frozen=True)
class Preset:
    """A plane of architectures and what is drawn over it.

    Attributes:
        x, y: names of the axes; ``labels`` says how figures call them.
        points: (x, y) to architecture, y varying fastest.
        quantity, layer: what is drawn; layer -1 is the last.
        finer: theory at more points, from which contours are drawn.
    """

    name: str
    title: str
    x: str
    y: str
    labels: Mapping[str, str]
    points: Mapping[tuple[Any, Any], Architecture]
    quantity: str
    layer: int
    networks: int = 16
    finer: Callable[[], pd.DataFrame] | None = None

    def table(self, measured: pd.DataFrame) -> pd.DataFrame:
        """One row for each point: x, y, theory and estimate of the quantity with its se, all in the units
        of the table's log_value where the quantity is logarithmic, and networks."""
        rows = measured[(measured["quantity"] == self.quantity) & (measured["stream"] == "0")]
        by_arch = {str(arch): part for arch, part in rows.groupby("architecture", sort=False)}
        column = "log_value" if QUANTITIES[self.quantity].logarithmic else "value"
        found = []
        for (x, y), arch in self.points.items():
            if str(arch) in by_arch:
                row = by_arch[str(arch)].sort_values("layer").iloc[self.layer]
                se = row["relative_se"] if column == "log_value" else row["se"]
                found.append((x, y, self.theory(arch), row[column], se, row["networks"]))
        return pd.DataFrame(found, columns=[self.x, self.y, "theory", "estimate", "se", "networks"])

    def theory(self, arch: Architecture) -> float:
        """The theory's prediction for a point; NaN outside its assumptions."""
        from ..prediction.predict import predict_profiles

        try:
            return float(predict_profiles(arch).profiles["0", self.quantity][self.layer])
        except AssumptionError:
            return float("nan")


def _plane(
    xs: Sequence[Any], ys: Sequence[Any], make: Callable[[Any, Any], Architecture]
) -> dict[tuple[Any, Any], Architecture]:
    return {(x, y): make(x, y) for x in xs for y in ys}


SIZES: dict[str, Any] = {"width": 512, "heads": 8, "tokens": 16}
DEPTHS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48)
COSINES = tuple(float(c) for c in np.round(np.linspace(0.0, 0.9, 10), 2))
LOGITS = tuple(2.0**k for k in range(-3, 7))
#: of the contours, a little beyond the outer cells
FINE_DEPTHS = tuple(sorted(set(np.geomspace(1, 60, 34).round().astype(int).tolist())))
FINE_SCALES = tuple(np.geomspace(0.1, 2.5, 33).tolist())
PLACES = ("no-norm", "pre-norm", "post-norm", "span-norm", "hybrid-norm", "siamese-norm")


def depth_branch(placement: str) -> Preset:
    """The plane of depth and branch scale of a placement.

    Raises:
        InputError: no such placement.
    """
    arch = Architecture(placement, **SIZES)

    def finer() -> pd.DataFrame:
        from ..plot.plane import branch_plane

        return branch_plane(arch, FINE_DEPTHS, FINE_SCALES, "token_cosine")

    return Preset(
        "depth-branch",
        f"{placement}: token cosine of the output",
        "depth",
        "branch_scale",
        {"depth": "depth $L$", "branch_scale": "branch scale"},
        _plane(DEPTHS, BRANCH_SCALES, lambda x, y: arch.with_(scaling=f"branch-scale-{y}", depth=x)),
        "token_cosine",
        -1,
        finer=finer,
    )


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        depth_branch("post-norm"),
        Preset(
            "cosine-logits",
            "pre-norm, 8 blocks: token cosine of the output",
            "input_cosine",
            "logit_variance",
            {"input_cosine": r"input cosine $\rho_0$", "logit_variance": "logit variance"},
            _plane(
                COSINES,
                LOGITS,
                lambda x, y: Architecture("pre-norm", depth=8, input_cosine=x, logit_variance=y, **SIZES),
            ),
            "token_cosine",
            -1,
        ),
        Preset(
            "balance",
            "ReLU, 16 blocks: token cosine of the output",
            "balance",
            "placement",
            {"balance": r"$\sigma_f^2/\sigma_a^2$ of equal tokens", "placement": ""},
            _plane(
                BALANCES,
                PLACES,
                lambda x, y: Architecture(
                    y, f"balance-{x}", 16, activation="relu", init="unit-branch", **SIZES
                ),
            ),
            "token_cosine",
            -1,
        ),
    )
}


def preset(name: str, placement: str | None = None) -> Preset:
    """The preset called ``name``; with a ``placement`` that of depth and branch scale, of any placement.

    Raises:
        UnknownNameError: there is none.
        InputError: a placement for another preset.
    """
    if name not in PRESETS:
        raise UnknownNameError("preset", name, PRESETS)
    if placement is None:
        return PRESETS[name]
    if name != "depth-branch":
        raise InputError(f"a placement goes with the preset depth-branch; {name} has its own")
    return depth_branch(placement)


def measure(chosen: Preset, overrides: Mapping[str, Any], options: Mapping[str, Any]) -> Sweep:
    """Sweep a preset's plane.

    Args:
        overrides: networks and device, where they differ from the preset's.
        options: as of :func:`run.run`.
    """
    values = {"networks": chosen.networks, **overrides}
    return run(specify(chosen.points.values(), imports=(__name__,), **values), **options)


def draw(chosen: Preset, table: pd.DataFrame) -> Figure:
    """The figure of a preset's :meth:`Preset.table`."""
    from matplotlib.figure import Figure

    from ..plot import phase_diagram

    axes = phase_diagram(
        table,
        chosen.x,
        chosen.y,
        labels=chosen.labels,
        quantity=chosen.quantity,
        finer=None if chosen.finer is None else chosen.finer(),
        title=chosen.title,
    )
    figure = axes[0].figure
    assert isinstance(figure, Figure)
    return figure


def run_preset(
    name: str,
    out: str | Path,
    overrides: Mapping[str, Any],
    options: Mapping[str, Any],
    placement: str | None = None,
) -> tuple[Sweep, list[Path]]:
    """Sweep a preset's plane and draw it; returns the sweep and the figure's files, PDF and PNG in the folder
    ``out``. Else as :func:`preset` and :func:`measure`."""
    from ..plot import save

    chosen = preset(name, placement)
    require_folder(out)
    result = measure(chosen, overrides, options)
    if not result.passed:
        return result, []
    figure = draw(chosen, chosen.table(result.table))
    folder = make_folder(out)
    return result, [save(figure, folder / f"phase-{name}.{form}") for form in ("pdf", "png")]
