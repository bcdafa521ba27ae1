"""Single changes of an architecture, each a fault that people make and that no tensor shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ..base.errors import SpannormError
from ..gaussian.activations import ACTIVATIONS
from ..spec.architecture import Architecture
from ..spec.net import NormConstants
from ..spec.placements import PLACEMENTS
from .placed_norms import catalogue, norms_in, place_of, single_blocks, with_norms


@dataclass(frozen=True)
class Suspect:
    """A change that may explain a measurement.

    Attributes:
        sentence: what is then the case, in words.
        arch: the architecture with the change.
        block: the one block that it is of; None for the whole stack.
    """

    sentence: str
    arch: Architecture
    block: int | None = None


def suspects(arch: Architecture, first: int, norms_known: bool = False) -> Iterator[Suspect]:
    """The changes in the order in which they are tried: those of a whole stack, then those of its block
    ``first``, the first that departs. The placements that they need are registered.

    Args:
        norms_known: whether the module's norms were read one by one, so that their constants are no question;
            one that is called may still be left out.
    """
    for sentence, change in _changes(arch):
        try:
            yield Suspect(sentence, arch.with_(**change(arch)))
        except SpannormError:  # no such architecture
            continue
    yield from _norms(arch, None, norms_known)
    if single_blocks(arch):
        yield from _norms(arch, first, norms_known)
    for name in catalogue():
        if PLACEMENTS[name].streams > 1 or name == arch.name:
            continue
        try:
            yield Suspect(f"norms stand as in {name}, not as in {arch.placement}", arch.with_(placement=name))
        except SpannormError:
            continue


Change = Callable[[Architecture], dict[str, Any]]

#: sentences, and the fields that change; the embedding's size is measured
_CHANGES: tuple[tuple[str, Change], ...] = (
    ("logits are not divided by the root of the head width", lambda a: {"logit_scale": 1.0}),
    ("logits are divided by the head width, not by its root", lambda a: {"logit_scale": "linear"}),
    ("logits are divided by the width", lambda a: {"logit_scale": 1 / a.width}),
    (
        "logits of block l are divided by l + 1, too",
        lambda a: {"scaling": f"{a.scaling}+inverse-layer-logits"},
    ),
    ("attention has no causal mask", lambda a: {"mask": "none"}),
    ("attention has a causal mask", lambda a: {"mask": "causal"}),
    ("queries and keys are normed", lambda a: {"qk_norm": True}),
    ("queries and keys are not normed", lambda a: {"qk_norm": False}),
    ("queries and keys are rotated", lambda a: {"positions": "rope"}),
    ("queries and keys are not rotated", lambda a: {"positions": "none"}),
)

#: constants of norms that are tried where they cannot be read: epsilons, and a factor on the gain
EPSILONS, GAIN = (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0), 2.0


def _changes(arch: Architecture) -> Iterator[tuple[str, Change]]:
    """The list, and every other activation that takes as many matrices."""
    yield from _CHANGES
    own = ACTIVATIONS[arch.activation]
    for name in ACTIVATIONS:
        if name != own.name and ACTIVATIONS[name].gated == own.gated:
            yield f"the activation is {name}, not {own.name}", _activation(name)


def _activation(name: str) -> Change:
    return lambda arch: {"activation": name}


def _norms(arch: Architecture, block: int | None, known: bool) -> Iterator[Suspect]:
    """A suspect for each norm of a block, which is then missing or, where they are not ``known``, has other
    constants, in all of them or in one; then for all norms at once."""
    trace = arch.block(0 if block is None else block)
    where = "of all blocks" if block is None else f"of block {block}"
    constants = [(f"has epsilon {e:g}", NormConstants(e, arch.norm_gain)) for e in EPSILONS]
    constants.append((f"has gain {GAIN:g}", NormConstants(arch.norm_epsilon, GAIN * arch.norm_gain)))
    constants = [] if known else constants
    changes = [("is missing", None), *constants]
    for index, norm in enumerate(norms_in(trace)):
        for words, own in changes:
            try:
                changed = with_norms(arch, {(block, index): own})
                yield Suspect(f"{place_of(norm, trace)} {where} {words}", changed, block)
            except SpannormError:  # what is left is no block
                continue
    if block is None:
        for words, own in constants:
            try:
                fields = {"norm_epsilon": own.epsilon, "norm_gain": own.gain}
                yield Suspect(f"every norm {words}", arch.with_(**fields))
            except SpannormError:
                continue
