"""Who uses a placement, and which simpler designs it equals."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ..literature.bibliography import address, bibliography
from ..models.registry import published
from ..moments.reductions import Reduction, reduces_to
from ..spec.architecture import parse_placement
from .cells import Cell

#: a length that fills every window of the registry
TOKENS = 16384


@dataclass(frozen=True)
class Use:
    """A published model that has a placement."""

    name: str
    year: int
    address: str
    placement: str
    scaling: str

    @property
    def shown(self) -> str:
        """The placement with its options to four digits."""
        return re.sub(r"\d+\.\d{5,}", lambda number: f"{float(number[0]):.4g}", self.placement)


def users(placement: str) -> Sequence[Use]:
    """The published models with a placement, whatever their options, in the order of years."""
    return _uses().get(parse_placement(placement)[0], ())


@lru_cache(maxsize=1)
def _uses() -> Mapping[str, Sequence[Use]]:
    found: dict[str, list[Use]] = {}
    for entry in published().values():
        arch = entry.read(TOKENS).arch
        where = entry.source.replace("arXiv:", "https://arxiv.org/abs/")
        use = Use(entry.name, entry.year, where, arch.placement, arch.scaling)
        found.setdefault(arch.name, []).append(use)
    return found


def simpler(cells: Sequence[Cell]) -> list[Reduction]:
    """The simpler designs that a placement equals at initialisation, under each of its cells' rules."""
    placement = cells[0].arch.placement
    first, *others = (reduces_to(placement, cell.arch.scaling) for cell in cells)
    return [one for one in first if all(one in other for other in others)]


def source(text: str) -> tuple[str, str]:
    """Address and title of a definition's source; the text alone where it is no publication."""
    bare = text.removesuffix(" (variant)")
    for key, entry in bibliography().items():
        if bare in (f"arXiv:{entry.get('eprint')}", entry.get("url"), entry.get("ids")):
            return address(key), entry["title"] + text.removeprefix(bare)
    return "", text
