"""A user's module, read: its matrices, the rules they follow, the architecture that it is, and what that
lacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from torch import nn

from ..base import arguments
from ..base.errors import InputError, shown
from ..spec.architecture import Architecture
from ..spec.fields import require_fields
from .blocks import find_blocks
from .gaps import Found, Gap, settled, unsayable
from .matrices import outer_matrices, table_of
from .networks import require_numbers
from .norms import NormFacts
from .rules import Rule, in_words, observed, rules_of
from .scheme import Scheme, scheme_of
from .structure import fields_of, found_in, looked_at


@dataclass(frozen=True, repr=False)
class Reading:
    """What :func:`read` returns.

    Attributes:
        name: of the module's class.
        arch: the architecture, with the gains of the tensors; None where the placement is not known.
        gaps: what matters and is not in ``arch``, each with its effect.
        table: a row for each matrix (:func:`.matrices.table_of`).
        norms: a row for each norm: name, size, kind, gain, epsilon, bias, and what it is a norm of.
        rules: of each role's standard deviations, by role.
        blocks: the path of the list of blocks.
        shown: the fields of an architecture that the module and the user say.
        found: what the module has beside them.
        scheme: the initialisation of every architecture of the module.
    """

    name: str
    arch: Architecture | None
    gaps: tuple[Gap, ...]
    table: pd.DataFrame = field(compare=False)
    norms: pd.DataFrame = field(compare=False)
    rules: Mapping[str, Rule] = field(compare=False)
    blocks: str
    shown: Mapping[str, Any] = field(compare=False)
    found: tuple[Found, ...] = field(compare=False)
    scheme: Scheme

    def architecture(self, placement: str) -> Architecture:
        """The architecture with its norms placed otherwise, and the gains of the tensors.

        Raises:
            InputError: no architecture of that placement has the fields that the module shows.
        """
        arch, _ = settled(self.shown, self.found, {"placement": placement})
        return self.scheme.of(arch)

    def words(self) -> str:
        """The rule that each role follows, in one line."""
        return in_words(self.rules.values())

    def text(self) -> str:
        """The module, its rules in words, its architecture, and a line for each gap."""
        blocks = self.table["layer"].max() + 1
        lines = [f"{self.name}: {blocks} blocks in {self.blocks!r}", f"  {self.words()}"]
        if self.arch is not None:
            lines.append(f"  {self.arch}")
        lines += [f"  not in the architecture: {gap}" for gap in self.gaps]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.text()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "name": self.name,
            "blocks": self.blocks,
            "words": self.words(),
            "architecture": None if self.arch is None else str(self.arch),
            "gaps": [{"feature": gap.feature, "effect": gap.effect} for gap in self.gaps],
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

    Args:
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
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model must be a torch.nn.Module, got {shown(model)}")
    require_fields(fields)
    tokens, seed = arguments.whole("tokens", tokens, 2), arguments.seed(seed)
    require_numbers(model)
    listed = find_blocks(model, blocks)
    seen = looked_at(model, listed, inputs, tokens, seed)
    roles = {one.role: one for one in observed(seen.measured)}
    rules = rules_of(list(roles.values()), len(seen.called), seen.width)
    fields_shown, found = {**configured(model), **fields_of(seen), **fields}, tuple(found_in(seen))
    arch, gaps = _architecture(fields_shown, found, set(fields))
    sizes = arch or settled(fields_shown, found, {"placement": "pre-norm"})[0]
    scheme = scheme_of(sizes, rules, roles)
    if {"init", "scaling"} & set(fields):
        scheme = Scheme(sizes.scaling, sizes.init)
    return Reading(
        type(model).__name__,
        None if arch is None else scheme.of(arch),
        tuple(gaps),
        table_of([*seen.measured, *outer_matrices(model, listed)]),
        pd.DataFrame(seen.norms, columns=list(NormFacts.__dataclass_fields__)),
        rules,
        listed.path,
        fields_shown,
        found,
        scheme,
    )


def _architecture(
    shown: Mapping[str, Any], found: Sequence[Found], stated: Set[str]
) -> tuple[Architecture | None, list[Gap]]:
    """The architecture but for its initialisation, and its gaps."""
    if "placement" not in shown:
        unknown = Gap(
            "the placement of the norms", "the module does not say it; pass placement=... to say it"
        )
        return None, [unknown, *unsayable(found)]
    return settled(shown, found, {name: shown[name] for name in stated})


def configured(model: nn.Module) -> dict[str, Any]:
    """The fields that the module's configuration says and its parts do not show: the seam at which a reader
    of configurations comes in."""
    return {}
