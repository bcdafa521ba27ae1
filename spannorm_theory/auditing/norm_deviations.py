"""Norms that are not as expected, one by one: missing, or with another gain, epsilon or kind than the
placement has at their place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..models.attention import NORMS_BY_LAYER
from ..spec.architecture import Architecture
from ..spec.expressions import over_layers
from ..spec.graph import Gain, Norm, Trace
from ..spec.net import NormConstants
from .deviation import Deviation, blocks_in_words, differs, number
from .norms import CalledNorms, NormFacts
from .placed_norms import norms_in, place_of, with_norms

#: the name of the deviation of a norm that is missing, or is of another kind
NORM = "norm"


@dataclass
class NormsFound:
    """The norms of a module against those of the architecture that is expected.

    Attributes:
        deviations: in words.
        fields: of the architecture, as they were found in all norms.
        own: norms of blocks that have other constants, or are missing, by block and place.
        last: those behind the last block, None where they are missing.
        known: whether each norm of the placement was found in the module, or found missing.
        lacking: what no theory has of what was found, in words.
    """

    deviations: list[Deviation] = field(default_factory=list)
    fields: dict[str, Any] = field(default_factory=dict)
    own: dict[tuple[int | None, int], NormConstants | None] = field(default_factory=dict)
    last: dict[int, NormConstants | None] = field(default_factory=dict)
    known: bool = False
    lacking: list[str] = field(default_factory=list)

    def in_(self, arch: Architecture) -> Architecture:
        """An architecture, with these norms as they were found."""
        return with_norms(arch.with_(**self.fields), self.own, self.last)


@dataclass(frozen=True)
class _Place:
    """A norm at its place.

    Attributes:
        block: index; None behind the last.
        index: among the norms of the block's, or the readout's, definition.
        name: within its block, or its path.
        words: the norm by the branch beside it.
        wanted: constants that it should have.
        start: what a learnt gain behind it, which it may hold as its own, starts at.
    """

    block: int | None
    index: int
    path: str
    name: str
    words: str
    wanted: NormConstants
    start: float = 1.0

    def gain_off(self, facts: NormFacts) -> float:
        """The gain over the expected one."""
        plain = facts.gain / self.wanted.gain
        return min(plain, plain / self.start, key=lambda x: abs(np.log(x)) if x > 0 else np.inf)


def norms_found(called: CalledNorms, expected: Architecture, unmodelled: Collection[str] = ()) -> NormsFound:
    """Every norm of a module that runs, against the placement's definition.

    Args:
        called: the norms of the module, by the blocks that call them.
        expected: of the same depth and width.
        unmodelled: what is known of the module and not in ``expected``, which is no deviation.
    """
    found = NormsFound()
    if not any(called.blocks):
        return found
    traces = [expected.block(layer) for layer in range(expected.depth)]
    places = _missing_and_there(found, called, expected, traces)
    _everywhere(found, called, expected)
    _heads(found, called, expected, NORMS_BY_LAYER in unmodelled)
    if not found.known:
        return found
    odd: dict[tuple[str, str, str, str], list[_Place]] = {}
    for place in places:
        facts, wanted = called.facts[place.path], place.wanted
        gain, off = wanted.gain, place.gain_off(facts)
        if "norm_gain" not in found.fields and differs(off, 1.0):
            gain = float(f"{wanted.gain * off:.4g}")
            odd.setdefault(("norm_gain", "gain", number(facts.gain), number(wanted.gain)), []).append(place)
        epsilon = wanted.epsilon
        if "norm_epsilon" not in found.fields and called.tells(place.path, epsilon):
            epsilon = float(f"{facts.epsilon:.2g}")
            key = "norm_epsilon", "epsilon", number(epsilon), number(wanted.epsilon)
            odd.setdefault(key, []).append(place)
        if NormConstants(epsilon, gain) != wanted:
            own = NormConstants(
                found.fields.get("norm_epsilon", epsilon), found.fields.get("norm_gain", gain)
            )
            if place.block is None:
                found.last[place.index] = own
            else:
                found.own[place.block, place.index] = own
        if facts.kind != expected.norm and len({called.facts[p.path].kind for p in places}) > 1:
            odd.setdefault((NORM, "kind", facts.kind, expected.norm), []).append(place)
    for (what, quantity, own_words, wanted_words), those in odd.items():
        for layers, name, words in _grouped(those):
            where = f" of {blocks_in_words(layers, expected.depth)}" if layers else ""
            sentence = f"{words}{where} ({name}) has {quantity} {own_words} where {wanted_words} is expected"
            found.deviations.append(Deviation(what, layers, sentence))
    return found


def _missing_and_there(
    found: NormsFound, called: CalledNorms, expected: Architecture, traces: Sequence[Trace]
) -> list[_Place]:
    """The norms that are there, by their places; those that some blocks lack go to ``found``."""
    nodes = [norms_in(trace) for trace in traces]
    full = Counter(own for own, there in zip(called.blocks, nodes, strict=True) if len(own) == len(there))
    places: list[_Place] = []
    gone: dict[str, list[int]] = {}
    found.known = True
    for layer, (own, there) in enumerate(zip(called.blocks, nodes, strict=True)):
        lacking = [] if len(own) == len(there) else _lacking(own, full, len(there))
        if lacking is None:
            found.known = False
            continue
        for index in lacking:
            found.own[layer, index] = None
            gone.setdefault(place_of(there[index], traces[layer]), []).append(layer)
        rest = [index for index in range(len(there)) if index not in lacking]
        for index, name in zip(rest, own, strict=True):
            path, words = f"{called.paths[layer]}.{name}", place_of(there[index], traces[layer])
            wanted, start = _wanted(there[index], traces[layer], expected, layer)
            places.append(_Place(layer, index, path, name, words, wanted, start))
    for words, layers in gone.items():
        where = blocks_in_words(layers, expected.depth)
        found.deviations.append(Deviation(NORM, tuple(layers), f"{words} of {where} is missing"))
    if called.bare and len(norms_in(expected.readout)) == 1:
        found.last[0] = None
        if not called.later:  # else the readout is in front of it
            found.deviations.append(Deviation(NORM, (), "the norm behind the last block is missing"))
    for index, (path, norm) in enumerate(zip(called.last, norms_in(expected.readout), strict=False)):
        wanted, _ = _wanted(norm, expected.readout, expected, 0)
        places.append(_Place(None, index, path, path, "the norm behind the last block", wanted))
    if not found.known:
        found.own.clear()
    return places


def _lacking(own: tuple[str, ...], full: Counter[tuple[str, ...]], count: int) -> list[int] | None:
    """Which norms a block lacks that others of as many have; None where that cannot be said."""
    pattern = next((names for names, _ in full.most_common() if len(names) == count), None)
    if pattern is None:
        return None
    lacking = [index for index, name in enumerate(pattern) if name not in own]
    rest = tuple(name for index, name in enumerate(pattern) if index not in lacking)
    return lacking if rest == own else None


def _wanted(norm: Norm, trace: Trace, arch: Architecture, layer: int) -> tuple[NormConstants, float]:
    """Constants of a norm, and what a learnt gain behind it starts at."""
    readers = [node for node in trace.nodes if any(source is norm for source in node.sources)]
    start = 1.0
    if len(readers) == 1 and isinstance(readers[0], Gain):
        start = abs(float(over_layers(readers[0].terms[0][0], arch, np.array([layer]))[0])) or 1.0
    return NormConstants(float(norm.epsilon), float(norm.gain)), start


def _everywhere(found: NormsFound, called: CalledNorms, expected: Architecture) -> None:
    """A gain or an epsilon that is another in all norms, which is one field."""
    paths = [f"{path}.{name}" for path, own in zip(called.paths, called.blocks, strict=True) for name in own]
    stream = [*paths, *called.last]
    every = [*stream, *(path for path in _inside(called) if path in called.moments)]
    gains, epsilons = ([getattr(called.facts[p], name) for p in stream] for name in ("gain", "epsilon"))
    if _alike(gains) and differs(gains[0], expected.norm_gain) and not any(_folded(expected)):
        _field(found, "norm_gain", float(f"{gains[0]:.5g}"), expected.norm_gain)
    epsilons = [called.facts[path].epsilon for path in every]
    if _alike(epsilons) and any(called.tells(path, expected.norm_epsilon) for path in every):
        _field(found, "norm_epsilon", float(f"{epsilons[0]:.2g}"), expected.norm_epsilon)


def _folded(arch: Architecture) -> Iterator[Gain]:
    """Learnt gains behind norms, which a module may keep in these."""
    for trace in arch.traces:
        yield from (n for n in trace.nodes if isinstance(n, Gain) and isinstance(n.source, Norm))


def _field(found: NormsFound, name: str, own: float, wanted: float) -> None:
    found.fields[name] = own
    sentence = f"{name} is {number(own)} where {number(wanted)} is expected"
    found.deviations.append(Deviation(name, (), sentence))


def _heads(found: NormsFound, called: CalledNorms, expected: Architecture, by_layer: bool) -> None:
    """Norms of queries and keys, whose gains multiply logits: a factor that all blocks have is a logit scale;
    those that only some blocks have, or with another gain, and epsilons that are not those of other norms are
    named. ``by_layer`` says that only some blocks are meant to have them."""
    factor = 1.0
    for of, several in (("query", "queries"), ("key", "keys"), ("value", "values")):
        facts = [called.facts[path] for path in _inside(called) if called.facts[path].of == of]
        without = tuple(
            layer
            for layer, path in enumerate(called.paths)
            if not any(one.name.startswith(f"{path}.") for one in facts)
        )
        if facts and 0 < len(without) < len(called.paths) and not by_layer:
            where = blocks_in_words(without, len(called.paths))
            found.deviations.append(Deviation(NORM, without, f"the norm on {several} of {where} is missing"))
            found.lacking.append(f"norms on {several} of single blocks")
        gains = [one.gain for one in facts]
        odd = [one for one in facts if differs(one.gain, 1.0)]
        if not odd:
            continue
        said = ", ".join(f"{one.name} ({one.gain:.3g})" for one in odd[:3])
        more = f" and {len(odd) - 3} more" if len(odd) > 3 else ""
        sentence = f"norms of {of} have other gains than 1: {said}{more}"
        found.deviations.append(Deviation(NORM, (), sentence))
        if of != "value" and _alike(gains):
            factor *= gains[0]
        else:
            found.lacking.append(f"gains of norms on {several} of single blocks")
    if differs(factor, 1.0):
        scale = (expected.logit_square / expected.head_size) ** 0.5
        found.fields["logit_scale"] = float(f"{scale * factor:.7g}")
    for path in _inside(called) if "norm_epsilon" not in found.fields else ():
        if called.tells(path, expected.norm_epsilon):
            own, wanted = number(called.facts[path].epsilon), number(expected.norm_epsilon)
            sentence = f"{path} has epsilon {own} where {wanted} is expected"
            found.deviations.append(Deviation("norm_epsilon", (), sentence))


def _inside(called: CalledNorms) -> list[str]:
    """Paths of the norms of queries, keys and values."""
    return [path for path, facts in called.facts.items() if facts.of != "stream"]


def _alike(numbers: Sequence[float]) -> bool:
    return bool(numbers) and max(numbers) - min(numbers) <= 0.05 * max(numbers)


def _grouped(places: Sequence[_Place]) -> Iterator[tuple[tuple[int, ...], str, str]]:
    """Blocks, name and words of norms that go by one name."""
    names = dict.fromkeys((place.name, place.words) for place in places)
    for name, words in names:
        those = [place for place in places if (place.name, place.words) == (name, words)]
        yield tuple(place.block for place in those if place.block is not None), name, words
