"""Phase diagrams of the sweep presets: measured through a store, and drawn beside the theory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import InputError
from ..sweeps.presets import PRESETS, Preset, draw, measure
from .figures import Picture
from .markup import paragraph, picture, tag


@dataclass(frozen=True)
class Phase:
    """A plane as measured: its table, and the same as a figure."""

    preset: Preset
    table: pd.DataFrame
    image: Picture

    @property
    def largest(self) -> Mapping[str, Any]:
        """The point at which theory and Monte Carlo differ most."""
        gaps = (self.table["theory"] - self.table["estimate"]).abs()
        return {str(name): value for name, value in self.table.iloc[int(gaps.argmax())].items()}


def phases(folder: Path, store: Path, progress: bool) -> Iterator[Phase]:
    """Measure every preset's plane and draw it under ``folder``; what the store has is not measured again.

    Raises:
        InputError: a cell failed.
    """
    for name, chosen in PRESETS.items():
        result = measure(chosen, {}, {"store": store, "progress": progress})
        if not result.passed:
            raise InputError(f"the phase diagram {name} cannot be drawn: {result.summary()}")
        table = chosen.table(result.table)
        table.to_csv(folder / "tables" / f"phase-{name}.csv", index=False)
        image = Picture.of(draw(chosen, table), folder / "figures", f"phase-{name}", _caption(chosen, table))
        yield Phase(chosen, table, image)


def _caption(chosen: Preset, table: pd.DataFrame) -> str:
    sizes = next(iter(chosen.points.values()))
    return (
        f"{chosen.title[0].upper()}{chosen.title[1:]}, over {len(table)} architectures of width "
        f"{sizes.width} with {sizes.tokens} tokens, {int(table['networks'].iloc[0])} networks each."
    )


def section(found: list[Phase]) -> str:
    """The figures, and where theory and Monte Carlo are farthest apart."""
    if not found:
        return ""
    parts = [
        tag("h2", "Phase diagrams", id="phases"),
        paragraph(
            "A quantity of the last block's output over a plane of architectures: theory on the left, Monte "
            "Carlo means on the right, both on one scale of colours and under the contours of the theory."
        ),
    ]
    for phase in found:
        parts.append(picture(phase.image))
        row, chosen = phase.largest, phase.preset
        parts.append(
            paragraph(
                f"The largest difference is at {_at(row, chosen)}: theory {row['theory']:.3f}, Monte Carlo "
                f"{row['estimate']:.3f} ± {row['se']:.3f}.",
                class_="note",
            )
        )
    return "\n".join(parts)


def _at(row: Mapping[str, Any], chosen: Preset) -> str:
    names = (chosen.x, chosen.y)
    return " and ".join(f"{name.replace('_', ' ')} {row[name]}" for name in names)
