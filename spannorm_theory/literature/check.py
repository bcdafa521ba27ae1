"""One Monte Carlo check of a claim, and how it is read from its table.

role              "claim" (what the claim says), "outside" (the same outside its conditions, which must be
                  contradicted) or "instead" (what is true where the claim fails)
architecture      text form;   networks, seed
quantity, stream ("0"), layer (negative: from the end)
over_layer, over_quantity, over_stream, over_architecture    the measure is a ratio to this
layers or depths  the measure is the exponent of the quantity in the layer, or in the depth
relation, value or name (of a number in the Fact), tolerance with reason, negated
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..base.errors import InputError, UnknownNameError
from ..base.quantities import QUANTITIES
from ..spec.architecture import Architecture
from ..verification.relation import KINDS as RELATIONS
from ..verification.relation import Region, region
from .entries import flag, number, only_known, text, whole
from .fact import Fact, prediction_of
from .measure import Measure, Predict, Term, exponent_weights

ROLES = ("claim", "outside", "instead")

FIELDS = (
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

    def region(self, fact: Fact | None, predict: Predict) -> Region:
        """The values that the check accepts.

        Raises:
            InputError: it names a number that the fact does not have.
        """
        values = self.borders
        if self.relation == "predicted":
            values = (self.measure.theory(predict),)
        elif self.name:
            if fact is None or self.name not in fact.numbers:
                raise UnknownNameError("number of the result", self.name, fact.numbers if fact else ())
            values = (float(fact.numbers[self.name]),)
        return region(self.relation, values, self.tolerance, self.measure.exponent, self.negated)

    def fact(self) -> Fact:
        """The theory's own answer to the check."""
        value = self.measure.theory(prediction_of)
        return Fact(value in self.region(None, prediction_of), f"{self.text} is {value:.3g}")


def read_check(entry: object) -> Check:
    """The check of a table.

    Raises:
        InputError: the table breaks the schema.
    """
    if not isinstance(entry, dict):
        raise InputError(f"a check must be a table, got {entry!r}")
    only_known("field of a check", entry, FIELDS)
    role = text(entry, "role") or "claim"
    relation = text(entry, "relation", required=True)
    for key, value, known in (("role", role, ROLES), ("relation", relation, RELATIONS)):
        if value not in known:
            raise UnknownNameError(key, value, known)
    values, name = _expected(entry, relation)
    tolerance, reason = number(entry, "tolerance", 0.0), text(entry, "reason")
    if (relation in ("about", "predicted")) != (tolerance > 0) or bool(tolerance) != bool(reason):
        raise InputError(
            "the relations about and predicted need a positive tolerance and its reason, others have none"
        )
    measure, wording = _measure(entry)
    return Check(
        role,
        measure,
        whole(entry, "networks", 12, least=3),
        whole(entry, "seed", 0, least=0),
        relation,
        values,
        name,
        tolerance,
        reason,
        flag(entry, "negated"),
        wording,
    )


def _expected(entry: Mapping[str, Any], relation: str) -> tuple[tuple[float, ...], str]:
    name = text(entry, "name")
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
    return (() if name else (number(entry, "value", 0.0),)), name


def _measure(entry: Mapping[str, Any]) -> tuple[Measure, str]:
    arch = Architecture.parse(text(entry, "architecture", required=True))
    quantity, stream = _quantity(entry, "quantity"), text(entry, "stream") or "0"
    sweeps = [key for key in ("layers", "depths") if key in entry]
    over = [key for key in FIELDS if key.startswith("over_") and key in entry]
    if len(sweeps) == 2 or (sweeps and over):
        raise InputError("a check measures a value, a ratio (over_...) or an exponent (layers, depths)")
    if sweeps:
        places = entry[sweeps[0]]
        good = isinstance(places, list) and len(set(places)) == len(places) > 1
        if not good or not all(isinstance(p, int) and p > 0 for p in places):
            raise InputError(f"{sweeps[0]} must be at least two different positive integers, got {places!r}")
        weights = exponent_weights(np.array(places, dtype=float))
        layer = whole(entry, "layer", -1) if sweeps == ["depths"] else 0
        terms = tuple(
            Term(arch, quantity, stream, p, w)
            if sweeps == ["layers"]
            else Term(arch.with_(depth=p), quantity, stream, layer, w)
            for p, w in zip(places, weights.tolist(), strict=True)
        )
        where = "over layers" if sweeps == ["layers"] else f"at layer {layer} over depths"
        return Measure(terms, True), f"exponent of {quantity} [{stream}] {where} {places}"
    layer = whole(entry, "layer", None)
    first = Term(arch, quantity, stream, layer)
    if not over:
        return Measure((first,)), f"{quantity} [{stream}] at layer {layer}"
    other = Term(
        Architecture.parse(entry["over_architecture"]) if "over_architecture" in over else arch,
        _quantity(entry, "over_quantity") if "over_quantity" in over else quantity,
        text(entry, "over_stream") or stream,
        whole(entry, "over_layer", layer),
        -1.0,
    )
    where = f" of {other.arch}" if other.arch != arch else ""
    return Measure((first, other)), (
        f"{quantity} [{stream}] at layer {layer} over {other.quantity} [{other.stream}] at layer "
        f"{other.layer}{where}"
    )


def _quantity(entry: Mapping[str, Any], key: str) -> str:
    value = text(entry, key, required=True)
    if value not in QUANTITIES:
        raise UnknownNameError(key, value, QUANTITIES)
    return value
