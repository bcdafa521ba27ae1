"""A user's module, read: its matrices, the rules they follow, the architecture that it is, and what that
lacks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from torch import nn

from ..base import arguments
from ..base.errors import InputError, shown
from ..models.model import Gap, Model
from ..models.reader import from_config
from ..models.settle import Fact, settle
from ..spec.architecture import Architecture
from ..spec.fields import Fields, require_fields
from .blocks import find_blocks
from .draws import EQUAL, Oddity, oddities
from .facts import UNKNOWN_HEADS, shape_facts, tensor_facts
from .matrices import outer_matrices, table_of
from .networks import plain, require_numbers
from .norms import CalledNorms, NormFacts
from .observed import observed
from .rules import Rule, in_words, rules_of
from .scheme import Scheme, scheme_of
from .structure import Structure, fields_of, looked_at


@dataclass(frozen=True, repr=False)
class Reading:
    """What :func:`read` returns.

    Attributes:
        name: of the module's class.
        arch: the architecture, with the gains of the tensors; None where the placement is not known.
        gaps: what matters and is not in ``arch``, each with its effect.
        notes: what is not in ``arch`` and changes nothing that is predicted: an embedding that is the head.
        table: a row for each matrix (:func:`.matrices.table_of`).
        norms: a row for each norm: name, size, kind, gain, epsilon, bias, and what it is a norm of.
        called: the norms of the stream by the blocks that call them.
        oddities: matrices that are not independent draws of one law.
        rules: of each role's standard deviations, by role.
        blocks: the path of the list of blocks.
        core: fields that every architecture has, as the module has them.
        facts: what it has beside them.
        given: fields that the user stated.
        scheme: the initialisation of every architecture of the module.
    """

    name: str
    arch: Architecture | None
    gaps: tuple[Gap, ...]
    notes: tuple[str, ...]
    table: pd.DataFrame = field(compare=False)
    norms: pd.DataFrame = field(compare=False)
    called: CalledNorms = field(compare=False)
    oddities: tuple[Oddity, ...]
    rules: Mapping[str, Rule] = field(compare=False)
    blocks: str
    core: Mapping[str, Any] = field(compare=False)
    facts: tuple[Fact, ...] = field(compare=False)
    given: Mapping[str, Any] = field(compare=False)
    scheme: Scheme

    @property
    def shown(self) -> frozenset[str]:
        """The fields of an architecture that the module, or its configuration, says."""
        unknown = {"heads"} if any(fact.feature == UNKNOWN_HEADS for fact in self.facts) else set()
        return frozenset(self.core).union(*(fact.fields for fact in self.facts)) - unknown

    def architecture(self, placement: str) -> Architecture:
        """The architecture with its norms placed otherwise, and the gains of the tensors.

        Args:
            placement: a registered name.

        Returns:
            the architecture; its scaling rule states the gains where no named rule gives them.

        Raises:
            InputError: no architecture of that placement has the fields that the module shows.
        """
        stated = {**self.given, "placement": placement}
        arch, _, _ = settle({**self.core, **stated}, self.facts, stated)
        return self.scheme.of(arch)

    def words(self) -> str:
        """The rule that each role follows, in one line.

        Returns:
            one line, as "std 0.02 on attn.query, ...".
        """
        return in_words(self.rules.values())

    def text(self) -> str:
        """The module, its rules in words, its architecture, and a line for each gap and note.

        Returns:
            text of several lines.
        """
        blocks = self.table["layer"].max() + 1
        lines = [f"{self.name}: {blocks} blocks in {self.blocks!r}", f"  {self.words()}"]
        if self.arch is not None:
            lines.append(f"  {self.arch}")
        lines += [f"  not in the architecture: {gap}" for gap in self.gaps]
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.text()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON.

        Returns:
            ``name``, ``blocks``, ``words``, ``architecture`` (text form, or None), ``gaps``, each with
            ``feature`` and ``effect``, and the tables ``table`` and ``norms``.
        """
        return {
            "name": self.name,
            "blocks": self.blocks,
            "words": self.words(),
            "architecture": None if self.arch is None else str(self.arch),
            "gaps": [{"feature": gap.feature, "effect": gap.effect} for gap in self.gaps],
            "notes": list(self.notes),
            "table": self.table,
            "norms": self.norms,
        }


def read(
    model: nn.Module,
    *,
    tokens: int = 64,
    inputs: Any = None,
    blocks: str | None = None,
    seed: int = 0,
    **fields: Any,
) -> Reading:
    """Read a module's initialisation from its tensors, and the architecture that it is.

    The module is run without gradients, to see whether it is causal and what its first block is given; norms
    are tried on random numbers. It is left as it was found.

    Source: docs/your_model.md.

    Args:
        model: a torch module; one network of it.
        tokens: length of the sequences on which it is run, and of the architecture.
        inputs, blocks, seed: those of :func:`.probe.probe`.
        fields: fields of :class:`~spannorm_theory.Architecture` that the module does not show, as
            ``placement=``, or that go over what it does.

    Returns:
        a :class:`Reading`. Where no named rule gives the gains of the tensors, one that states them is
        registered, and the architecture's ``scaling`` is its name.

    Raises:
        InputError: no module, one whose parameters hold no numbers, one that fails on its inputs, or one in
            which no single stream is found.

    Example:
        >>> import spannorm_theory as st
        >>> from torch import nn
        >>> def build(seed):
        ...     layer = nn.TransformerEncoderLayer(
        ...         32, 2, 128, 0.0, "gelu", batch_first=True, norm_first=True, bias=False
        ...     )
        ...     blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        ...     return nn.Sequential(nn.Embedding(50, 32), blocks)
        ...
        >>> found = st.read(build(0), tokens=8)
        >>> sorted(found.rules)
        ['attn.key', 'attn.output', 'attn.query', 'attn.value', 'ffn.down', 'ffn.up']
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model must be a torch.nn.Module, got {shown(model)}")
    require_fields(fields)
    tokens, seed = arguments.whole("tokens", tokens, 2), arguments.seed(seed)
    model = plain(model)
    require_numbers(model)
    listed = find_blocks(model, blocks)
    seen = looked_at(model, listed, inputs, tokens, seed)
    roles = {one.role: one for one in observed(seen.measured)}
    rules = rules_of(list(roles.values()), len(seen.called), seen.width)
    core, facts, gaps = _facts(model, seen, fields)
    named = "placement" in {**core, **fields}
    stand_in = {} if named else {"placement": "pre-norm"}  # the initialisation is the same for all
    stated = {**fields, **stand_in}
    arch, more, notes = settle({**core, **stated}, facts, stated)
    scheme = scheme_of(arch, rules, roles)
    if {"init", "scaling"} & set(fields):
        scheme = Scheme(arch.scaling, arch.init)
    odd = oddities(seen)
    gaps += more if named else (_UNNAMED, *_unsayable(facts))
    gaps += tuple(Gap(one.words, NOT_DRAWN) for one in odd if one.what != EQUAL)
    return Reading(
        type(model).__name__,
        scheme.of(arch) if named else None,
        gaps,
        notes,
        table_of([*seen.measured, *outer_matrices(model, listed)]),
        pd.DataFrame(seen.norms, columns=list(NormFacts.__dataclass_fields__)),
        seen.called_norms,
        odd,
        rules,
        listed.path,
        core,
        facts,
        fields,
        scheme,
    )


#: what the theory does not have where matrices are not independent draws
NOT_DRAWN = "theory has independent draws of one law"

_UNNAMED = Gap("the placement of the norms", "the module does not say it: state placement")

#: fields that not every placement takes, which are tried one by one
TRIED = ("qkv_norm", "qk_norm", "qk_norm_over", "norm_epsilon", "norm_gain")


def _facts(
    model: nn.Module, seen: Structure, given: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[Fact, ...], tuple[Gap, ...]]:
    """The core of the module's architecture, the facts on top of it, and the gaps that are known already.

    A configuration says what a family builds; the tensors, and what was seen of the running module, go over
    it.
    """
    own = {name: value for name, value in fields_of(seen).items() if name not in given}
    known = configured(model, seen.tokens, **_drawn(seen))
    if known is None:
        return own, (*shape_facts(seen, given), *tensor_facts(seen, given)), ()
    core = known.arch.to_dict()
    if seen.start.may_be(known.arch.input_second_moment, known.arch.input_cosine):
        own = {name: value for name, value in own.items() if not name.startswith("input_")}
    seen_too = SEEN if known.arch.experts > 1 else (*SEEN, "ffn_ratio")
    core |= {name: value for name, value in own.items() if name in seen_too}
    plain = {f.name: f.default for f in dataclasses.fields(Fields)}
    tried = {name: core.pop(name) for name in TRIED if name in core}
    facts = [Fact(name, "", {name: value}) for name, value in tried.items() if value != plain[name]]
    for fact in tensor_facts(seen, given):
        if not any(gap.feature.startswith(fact.feature) for gap in known.gaps):
            facts.append(fact)
    return core, tuple(facts), known.gaps


#: fields that are taken from the running module, whatever its configuration says
SEEN = ("depth", "width", "tokens", "mask", "norm", "input_variance", "input_cosine")


def _drawn(seen: Structure) -> dict[str, str]:
    """How matrices are drawn, on which the size of keys that rotate depends beside those from a latent."""
    turned, still = seen.first("attn.rotary_key"), seen.first("attn.key")
    if turned is None or still is None or abs(turned.gain / still.gain - 1) > 0.2:
        return {}
    return {"init": "fan-in"}


def configured(model: nn.Module, tokens: int, **fields: Any) -> Model | None:
    """The model of the module's own configuration; None where it has none, or one of a type that is not
    known."""
    config = getattr(model, "config", None)
    try:
        return None if config is None else from_config(config, tokens, **fields)
    except InputError:
        return None


def _unsayable(facts: Iterable[Fact]) -> Iterator[Gap]:
    """The facts that no architecture has fields for."""
    known = {field.name for field in dataclasses.fields(Fields)}
    for fact in facts:
        if fact.effect and not (fact.fields and known.issuperset(fact.fields)):
            yield Gap(fact.feature, fact.effect)
