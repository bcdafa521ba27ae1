"""What figures cost: the networks that they simulate, and for how long, before any is."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from time import process_time

from ...base.errors import InputError, SpannormError
from ...prediction.predict import fitting
from ...prediction.room import sampled_seconds
from ...spec.architecture import Architecture
from .recipe import Recipe

#: kinds whose networks take a step, few and small ones
STEPS = ("learning-share", "coordinate-check")

#: kinds that are drawn of a definition, or of the theory, alone, and those whose networks are no matter
WITHOUT = ("block", "branch-map", *STEPS)

#: seconds that figures simulate unasked
LONGEST = 3600.0

#: blocks of the stack that is timed, the first that the other fields allow
TRIED = (2, 4, 8)


def announce(recipes: Sequence[Recipe], longest: float | None, progress: bool) -> None:
    """Say what figures cost, before they are made.

    Raises:
        InputError: their networks take longer than ``longest`` seconds.
    """
    seconds = estimated(recipes)
    if longest is not None and seconds > longest:
        raise InputError(
            f"{words(recipes)}, about {_time(seconds)}, beyond {_time(longest)}; take a smaller --width, "
            "--depth, --tokens or --networks, fewer --placements or --scalings, one figure by its name, or "
            "allow more by --longest SECONDS"
        )
    if progress:
        about = f", about {_time(seconds)}" if seconds else ""
        print(f"spannorm: {words(recipes)}{about}", file=sys.stderr)


def simulated(recipes: Sequence[Recipe]) -> list[Architecture]:
    """The architectures of which networks are drawn, as often as they are: figures of one share its networks,
    but spectra draw their own."""
    shared: dict[Architecture, None] = {}
    drawn: dict[Architecture, None] = {}
    for recipe in recipes:
        if recipe.kind not in WITHOUT:
            shared.update(dict.fromkeys(recipe.architectures))
        if recipe.kind == "spectra":
            drawn.update(dict.fromkeys(recipe.architectures))
    return [*shared, *drawn]


def words(recipes: Sequence[Recipe]) -> str:
    """The networks that figures simulate."""
    archs = simulated(recipes)
    if not archs:
        return f"{len(recipes)} figure(s) without random networks"
    sizes = ((arch.depth, arch.width, arch.tokens) for arch in archs)
    depth, width, tokens = (_range(values) for values in zip(*sizes, strict=True))
    each = f"depth {depth}, width {width}, {tokens} tokens"
    return (
        f"{len(recipes)} figure(s) of {len(set(archs))} architectures simulate "
        f"{len(archs) * recipes[0].networks:,} networks of {each}"
    )


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low}" if low == high else f"{low} to {high}"


def estimated(recipes: Sequence[Recipe]) -> float:
    """Seconds that figures take on cores that nothing else uses: of their networks, those of one of few
    blocks, timed for each size, times networks and blocks; and of sampled heads in their theory."""
    archs = simulated(recipes)
    if not archs:
        return 0.0
    from ...montecarlo.resources import cores

    sizes = {(arch.width, arch.tokens): arch for arch in archs}
    each = {size: _block(arch) for size, arch in sizes.items()}
    blocks = sum(arch.depth * each[arch.width, arch.tokens] for arch in archs)
    theory = sum(sampled_seconds(arch) for arch in set(archs) if fitting(arch) == "sampled")
    return (blocks * recipes[0].networks + theory) / cores()


def _block(arch: Architecture) -> float:
    """Processor seconds of a block of a network; 0 where no shallow stack can be drawn."""
    from ...montecarlo.ensemble import simulate

    for depth in TRIED:
        with suppress(SpannormError):
            shallow = arch.with_(depth=depth)
            simulate(shallow, networks=1, progress=False)  # a first call loads and compiles
            start = process_time()
            simulate(shallow, networks=1, progress=False)
            return (process_time() - start) / depth
    return 0.0


def _time(seconds: float) -> str:
    """A duration in the unit that one would say it in."""
    if seconds < 100:
        return f"{max(round(seconds), 1)} s"
    minutes = seconds / 60
    return f"{minutes:.0f} minutes" if minutes < 100 else f"{minutes / 60:.0f} hours"
