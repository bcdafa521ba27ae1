"""A claim, its checks, and how they are read from papers/claims.toml.

[[claim]]
id, sentence, verdict (one of VERDICTS)
kind         how its source knows it, or "contradiction" where other sources, or the source's own code, say
             otherwise
source       a key of papers/references.bib, or "own" for what we derive and no paper states
result       dotted path, below spannorm_theory.literature.facts, of a function that returns a Fact; a
             contradiction may leave it to the theory's answer to its first check
conditions   for "holds with conditions": which;   instead: for "fails at initialisation": what is true
full         true: only with --full

[[claim.check]]
see :mod:`.check`
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from ..base import arguments
from ..base.errors import InputError, SpannormError, UnknownNameError
from .bibliography import bibliography, papers
from .check import Check, read_check
from .entries import flag, only_known, text
from .fact import Fact

CONTRADICTION = "contradiction"
KINDS = ("proved", "derived", "measured at initialisation", "measured in training", CONTRADICTION)
HOLDS, WITH_CONDITIONS = "holds", "holds with conditions"
FAILS, NOT_TESTABLE = "fails at initialisation", "not testable here"
VERDICTS = (HOLDS, WITH_CONDITIONS, FAILS, NOT_TESTABLE)
#: the source of a statement that no paper makes
OWN = "own"

FACTS = "spannorm_theory.literature.facts."
FIELDS = (
    "id",
    "sentence",
    "source",
    "kind",
    "verdict",
    "result",
    "conditions",
    "instead",
    "full",
    "check",
)


@dataclass(frozen=True)
class Claim:
    """One published statement; the module's docstring says what its fields mean."""

    id: str
    sentence: str
    source: str
    kind: str
    verdict: str
    result: str
    conditions: str
    instead: str
    full: bool
    checks: tuple[Check, ...]

    def fact(self) -> Fact | None:
        """The theory's answer; None for claims about training."""
        if not self.result:
            return self.checks[0].fact() if self.kind == CONTRADICTION else None
        module, _, name = (FACTS + self.result).rpartition(".")
        found = getattr(import_module(module), name)()
        if not isinstance(found, Fact):
            raise InputError(f"claim {self.id!r}: {self.result} must return a Fact, got {found!r}")
        return found


def load_claims(path: str | Path | None = None) -> tuple[Claim, ...]:
    """The claims of a file, by default papers/claims.toml.

    Raises:
        InputError: the file cannot be read, or a claim breaks the schema; the message names the claim.
    """
    path = papers("claims.toml") if path is None else arguments.path("path", path)
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("claim", [])
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read claims from {path}: {error}") from error
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{path} holds no [[claim]]")
    sources, found, seen = bibliography(), [], set[str]()
    for number, entry in enumerate(entries, 1):
        name = str(entry.get("id", f"number {number}")) if isinstance(entry, dict) else f"number {number}"
        try:
            claim = _claim(entry, sources)
            if claim.id in seen:
                raise InputError("the id is taken by an earlier claim")
        except SpannormError as error:
            raise InputError(f"claim {name!r}: {error}") from error
        seen.add(claim.id)
        found.append(claim)
    return tuple(found)


def _claim(entry: object, sources: Mapping[str, Mapping[str, str]]) -> Claim:
    if not isinstance(entry, dict):
        raise InputError(f"expected a table, got {entry!r}")
    only_known("field of a claim", entry, FIELDS)
    texts = {
        key: text(entry, key, required=key in ("id", "sentence", "source", "kind", "verdict"))
        for key in FIELDS[:-2]
    }
    for key, known in (("kind", KINDS), ("verdict", VERDICTS), ("source", (OWN, *sources))):
        if texts[key] not in known:
            raise UnknownNameError(key, texts[key], known)
    checks = entry.get("check", [])
    if not isinstance(checks, list):
        raise InputError(f"check must be an array of tables, got {checks!r}")
    claim = Claim(**texts, full=flag(entry, "full"), checks=tuple(read_check(check) for check in checks))
    _consistent(claim)
    return claim


def _consistent(claim: Claim) -> None:
    training = claim.kind == "measured in training"
    if training != (claim.verdict == NOT_TESTABLE):
        raise InputError(f"the kind {claim.kind!r} does not go with the verdict {claim.verdict!r}")
    if training and (claim.result or claim.checks):
        raise InputError("what is measured in training has neither result nor check here")
    if not training:
        if claim.result:
            _resolve(claim.result)
        elif claim.kind != CONTRADICTION:
            raise InputError("result is missing: the dotted path of the function that decides the claim")
        if not claim.checks and claim.kind != "proved":
            raise InputError(f"a claim of kind {claim.kind!r} needs a check by Monte Carlo")
    for key, verdict in (("conditions", WITH_CONDITIONS), ("instead", FAILS)):
        if bool(getattr(claim, key)) != (claim.verdict == verdict):
            raise InputError(f"{key} belongs to the verdict {verdict!r} and to no other")


def _resolve(result: str) -> None:
    module, _, name = (FACTS + result).rpartition(".")
    try:
        function = getattr(import_module(module), name)
    except (ImportError, AttributeError):
        raise InputError(f"there is no function {FACTS}{result}") from None
    if not callable(function):
        raise InputError(f"{FACTS}{result} is no function")
