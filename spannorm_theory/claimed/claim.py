"""A claim, its checks, and how they are read from papers/claims.toml.

[[claim]]
id, sentence, kind (one of KINDS), verdict (one of VERDICTS)
source       a key of papers/references.bib, or "own" for what we derive and no paper states
result       dotted path, below spannorm_theory.claimed.facts, of a function that returns a Fact
conditions   for "holds with conditions": which;   instead: for "fails at initialisation": what is true
full         true: only with --full

[[claim.check]]
role              "claim" (what the claim says), "outside" (the same outside its conditions, which must be
                  contradicted) or "instead" (what is true where the claim fails)
architecture      text form;   networks, seed
quantity, stream ("0"), layer (negative: from the end)
over_layer, over_quantity, over_stream, over_architecture    the measure is a ratio to this
layers or depths  the measure is the exponent of the quantity in the layer, or in the depth
relation, value or name (of a number in the Fact), tolerance with reason, negated
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ..architecture import Architecture
from ..errors import InputError, SpannormError, UnknownNameError
from ..quantities import QUANTITIES
from .bibliography import bibliography, papers
from .fact import Fact
from .measure import Measure, Term, exponent_weights
from .relation import KINDS as RELATIONS

KINDS = ("proved", "derived", "measured at initialisation", "measured in training")
HOLDS, WITH_CONDITIONS = "holds", "holds with conditions"
FAILS, NOT_TESTABLE = "fails at initialisation", "not testable here"
VERDICTS = (HOLDS, WITH_CONDITIONS, FAILS, NOT_TESTABLE)
#: the source of a statement that no paper makes
OWN = "own"
ROLES = ("claim", "outside", "instead")

FACTS = "spannorm_theory.claimed.facts."
_CLAIM_FIELDS = (
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
_CHECK_FIELDS = (
    "role",
    "architecture",
    "networks",
    "seed",
    "quantity",
    "stream",
    "layer",
    "over_layer",
    "over_quantity",
    "over_stream",
    "over_architecture",
    "layers",
    "depths",
    "relation",
    "value",
    "name",
    "tolerance",
    "reason",
    "negated",
)


@dataclass(frozen=True)
class Check:
    """One Monte Carlo check of a claim.

    Attributes:
        borders: expected value, or the two borders; empty where ``name`` refers to the claim's Fact, or the
            relation is "predicted".
        tolerance: a share of the expected value; of exponents a distance from it.
    """

    role: str
    measure: Measure
    networks: int
    seed: int
    relation: str
    borders: tuple[float, ...]
    name: str
    tolerance: float
    reason: str
    negated: bool
    text: str


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
        """What the symbolic result says; None for claims about training."""
        if not self.result:
            return None
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
    path = papers("claims.toml") if path is None else Path(path)
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("claim", [])
    except (OSError, tomllib.TOMLDecodeError) as error:
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
    _known("field of a claim", entry, _CLAIM_FIELDS)
    texts = {
        key: _text(entry, key, required=key in ("id", "sentence", "source", "kind", "verdict"))
        for key in _CLAIM_FIELDS[:-2]
    }
    for key, known in (("kind", KINDS), ("verdict", VERDICTS), ("source", (OWN, *sources))):
        if texts[key] not in known:
            raise UnknownNameError(key, texts[key], known)
    checks = entry.get("check", [])
    if not isinstance(checks, list):
        raise InputError(f"check must be an array of tables, got {checks!r}")
    claim = Claim(**texts, full=_flag(entry, "full"), checks=tuple(_check(check) for check in checks))
    _consistent(claim)
    return claim


def _consistent(claim: Claim) -> None:
    training = claim.kind == "measured in training"
    if training != (claim.verdict == NOT_TESTABLE):
        raise InputError(f"the kind {claim.kind!r} does not go with the verdict {claim.verdict!r}")
    if training and (claim.result or claim.checks):
        raise InputError("what is measured in training has neither result nor check here")
    if not training:
        if not claim.result:
            raise InputError("result is missing: the dotted path of the function that decides the claim")
        _resolve(claim.result)
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


def _check(entry: object) -> Check:
    if not isinstance(entry, dict):
        raise InputError(f"a check must be a table, got {entry!r}")
    _known("field of a check", entry, _CHECK_FIELDS)
    role = _text(entry, "role") or "claim"
    relation = _text(entry, "relation", required=True)
    for key, value, known in (("role", role, ROLES), ("relation", relation, RELATIONS)):
        if value not in known:
            raise UnknownNameError(key, value, known)
    values, name = _expected(entry, relation)
    tolerance, reason = _number(entry, "tolerance", 0.0), _text(entry, "reason")
    if (relation in ("about", "predicted")) != (tolerance > 0) or bool(tolerance) != bool(reason):
        raise InputError(
            "the relations about and predicted need a positive tolerance and its reason, others have none"
        )
    measure, text = _measure(entry)
    return Check(
        role,
        measure,
        _whole(entry, "networks", 12, least=3),
        _whole(entry, "seed", 0, least=0),
        relation,
        values,
        name,
        tolerance,
        reason,
        _flag(entry, "negated"),
        text,
    )


def _expected(entry: Mapping[str, Any], relation: str) -> tuple[tuple[float, ...], str]:
    name = _text(entry, "name")
    given = entry.get("value")
    if relation == "predicted":
        if name or given is not None:
            raise InputError("the relation predicted takes its value from the theory; drop value and name")
        return (), ""
    if relation == "between":
        if not isinstance(given, list) or len(given) != 2 or not given[0] < given[1]:
            raise InputError(f"the relation between needs value = [low, high], got {given!r}")
        return (float(given[0]), float(given[1])), ""
    if bool(name) == (given is not None):
        raise InputError(
            f"the relation {relation} needs either value, a number, or name, of one in the result"
        )
    return (() if name else (_number(entry, "value", 0.0),)), name


def _measure(entry: Mapping[str, Any]) -> tuple[Measure, str]:
    arch = Architecture.parse(_text(entry, "architecture", required=True))
    quantity, stream = _quantity(entry, "quantity"), _text(entry, "stream") or "0"
    sweeps = [key for key in ("layers", "depths") if key in entry]
    over = [key for key in _CHECK_FIELDS if key.startswith("over_") and key in entry]
    if len(sweeps) == 2 or (sweeps and over):
        raise InputError("a check measures a value, a ratio (over_...) or an exponent (layers, depths)")
    if sweeps:
        places = entry[sweeps[0]]
        good = isinstance(places, list) and len(set(places)) == len(places) > 1
        if not good or not all(isinstance(p, int) and p > 0 for p in places):
            raise InputError(f"{sweeps[0]} must be at least two different positive integers, got {places!r}")
        weights = exponent_weights(np.array(places, dtype=float))
        layer = _whole(entry, "layer", -1) if sweeps == ["depths"] else 0
        terms = tuple(
            Term(arch, quantity, stream, p, w)
            if sweeps == ["layers"]
            else Term(arch.with_(depth=p), quantity, stream, layer, w)
            for p, w in zip(places, weights.tolist(), strict=True)
        )
        where = "over layers" if sweeps == ["layers"] else f"at layer {layer} over depths"
        return Measure(terms, True), f"exponent of {quantity} [{stream}] {where} {places}"
    layer = _whole(entry, "layer", None)
    first = Term(arch, quantity, stream, layer)
    if not over:
        return Measure((first,)), f"{quantity} [{stream}] at layer {layer}"
    other = Term(
        Architecture.parse(entry["over_architecture"]) if "over_architecture" in over else arch,
        _quantity(entry, "over_quantity") if "over_quantity" in over else quantity,
        _text(entry, "over_stream") or stream,
        _whole(entry, "over_layer", layer),
        -1.0,
    )
    where = f" of {other.arch}" if other.arch != arch else ""
    return Measure((first, other)), (
        f"{quantity} [{stream}] at layer {layer} over {other.quantity} [{other.stream}] at layer "
        f"{other.layer}{where}"
    )


def _known(kind: str, entry: Mapping[str, Any], fields: tuple[str, ...]) -> None:
    for key in entry:
        if key not in fields:
            raise UnknownNameError(kind, key, fields)


def _text(entry: Mapping[str, Any], key: str, required: bool = False) -> str:
    value = entry.get(key, "")
    if not isinstance(value, str) or (required and not value.strip()):
        raise InputError(f"{key} must be a text" + (", and is missing" if key not in entry else ""))
    return " ".join(value.split())


def _quantity(entry: Mapping[str, Any], key: str) -> str:
    value = _text(entry, key, required=True)
    if value not in QUANTITIES:
        raise UnknownNameError(key, value, QUANTITIES)
    return value


def _number(entry: Mapping[str, Any], key: str, default: float) -> float:
    value = entry.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
        raise InputError(f"{key} must be a number, got {value!r}")
    return float(value)


def _whole(entry: Mapping[str, Any], key: str, default: int | None, least: int | None = None) -> int:
    value = entry.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or (least is not None and value < least):
        raise InputError(
            f"{key} must be an integer" + (f" of at least {least}" if least else "") + f", got {value!r}"
        )
    return value


def _flag(entry: Mapping[str, Any], key: str) -> bool:
    value = entry.get(key, False)
    if not isinstance(value, bool):
        raise InputError(f"{key} must be true or false, got {value!r}")
    return value
