"""Phase diagrams of the sweep presets: measured through a store, and drawn beside the theory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ..base.errors import InputError
from ..base.files import write_file
from ..plot.canvas.picture import Picture

if TYPE_CHECKING:
    from .phase_presets import Preset


def phases(folder: Path, store: Path, progress: bool) -> Iterator[Picture]:
    """Measure every preset's plane and draw it under ``folder``; what the store has is not measured again.

    Raises:
        InputError: a cell failed.
    """
    from . import (
        phase_presets as presets,  # registers scaling rules, which a report without planes does not need
    )

    for name, chosen in presets.PRESETS.items():
        result = presets.measure(chosen, {}, {"store": store, "progress": progress})
        if not result.passed:
            raise InputError(f"the phase diagram {name} cannot be drawn: {result.summary()}")
        table = chosen.table(result.table)
        write_file(folder / "tables" / f"phase-{name}.csv", table.to_csv(index=False))
        yield Picture.of(
            presets.draw(chosen, table), _caption(chosen, table), folder / "figures", f"phase-{name}"
        )


def _caption(chosen: Preset, table: pd.DataFrame) -> str:
    """The measured cells, and where theory and Monte Carlo are farthest apart."""
    sizes = next(iter(chosen.points.values()))
    row = table.iloc[int((table["theory"] - table["estimate"]).abs().argmax())]
    values = ((name, row[name]) for name in (chosen.x, chosen.y))
    at = (f"{name.replace('_', ' ')} {v if isinstance(v, str) else format(v, 'g')}" for name, v in values)
    return (
        f"{chosen.title[0].upper()}{chosen.title[1:]}, over {len(table)} architectures of width "
        f"{sizes.width} with {sizes.tokens} tokens, {int(row['networks'])} networks each. The largest "
        f"difference is at {' and '.join(at)}: theory {row['theory']:.3f}, Monte Carlo {row['estimate']:.3f} "
        f"± {row['se']:.3f}."
    )
