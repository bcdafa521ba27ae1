"""The initialisation of an architecture that a module's tensors follow: a named rule where one fits, else one
that states each standard deviation."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sympy import Expr

from ..base.errors import InputError, SpannormError
from ..spec.architecture import Architecture
from ..spec.expressions import over_layers
from ..spec.scaling import WEIGHTS, Multipliers
from ..spec.scalings import SCALINGS, scaling
from .observed import STRAY, Observed
from .rules import Rule

#: initialisations that are tried by name, before the round numbers of the rules
INITS = ("fan-in", "xavier")

#: relative distance within which a recognised number is the same
SAME = 1e-5


@dataclass(frozen=True)
class Scheme:
    """Fields of an architecture that draw every matrix as the tensors are.

    Attributes:
        router_gain: where ``init`` gives another, or None.
    """

    scaling: str
    init: str | float
    router_gain: float | None = None

    def of(self, arch: Architecture) -> Architecture:
        """The architecture with this initialisation."""
        found = arch.with_(scaling=self.scaling, init=self.init)
        if self.router_gain is None:
            return found
        try:
            return found.with_(router_gain=self.router_gain)
        except InputError:  # of the one gate of top_k=1, which is 1 whatever the router says
            return found


def scheme_of(arch: Architecture, rules: Mapping[str, Rule], roles: Mapping[str, Observed]) -> Scheme:
    """The initialisation that the rules say.

    A registered rule and ``init`` are taken where they say the same of every matrix; otherwise a rule that
    states each standard deviation is registered, under a name that its values decide.

    Args:
        arch: of the module's sizes.
    """
    numbers = sorted({float(r.std) for r in rules.values() if r.std.is_number and r.std > 0}, reverse=True)
    inits: list[str | float] = [*INITS, *numbers]
    for init in inits:
        for name in _plain_rules():
            scheme = Scheme(name, init)
            try:
                found = scheme.of(arch)
                follows = _follows(found, rules, roles)
            except SpannormError:  # a field that has no effect under this rule, or a block that norms zeros
                continue
            if follows:
                return replace(scheme, router_gain=_router_gain(found, rules, roles))
    stated = {name: rules[name] for name in arch.weights if name in rules and name in WEIGHTS}
    scheme = Scheme(_registered(stated), "fan-in")
    return replace(scheme, router_gain=_router_gain(scheme.of(arch), rules, roles))


def _router_gain(
    arch: Architecture, rules: Mapping[str, Rule], roles: Mapping[str, Observed]
) -> float | None:
    """sigma_W^2 of the router where it is another than the architecture's; it is one for all blocks."""
    if "ffn.router" not in rules or "ffn.router" not in arch.weights:
        return None
    router = roles["ffn.router"]
    std = float(over_layers(rules["ffn.router"].std, arch, router.layers[:1])[0])
    own = (arch.base_gains["ffn.router"] / router.inputs) ** 0.5
    if abs(std / own - 1) < STRAY * router.constant_error:
        return None
    return float(f"{router.inputs * std**2:.7g}")


def restated(arch: Architecture, std: Mapping[str, Expr]) -> Architecture:
    """An architecture with these standard deviations of some matrices, and all else of its scaling rule."""
    if not std:
        return arch
    rule = SCALINGS[arch.scaling]
    text = repr((arch.scaling, sorted((name, str(value)) for name, value in std.items())))
    name = PREFIX + hashlib.sha256(text.encode()).hexdigest()[:8]
    if name not in SCALINGS:

        @scaling(name, title=f"{rule.title}, but for what was read", source=rule.source, only=rule.only)
        def changed(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
            """The rule, with other standard deviations of some matrices."""
            own = rule.multipliers(sublayer)
            kept = {key: value for key, value in own.gains.items() if key not in std}
            return replace(own, gains=kept, std={**own.std, **std})

    return arch.with_(scaling=name)


def _plain_rules() -> list[str]:
    """Registered rules that act on the initialisation of blocks alone, and go with every placement."""
    found = []
    for name in SCALINGS:
        rule = SCALINGS[name]
        both = [rule.multipliers(kind) for kind in ("attention", "ffn")]
        plain = all(m.skip == m.branch == m.norm == 1 and not m.outputs for m in both)
        plain = plain and rule.embedding_factor == 1
        if plain and not rule.only and not name.startswith(PREFIX):
            found.append(name)
    return found


def _follows(arch: Architecture, rules: Mapping[str, Rule], roles: Mapping[str, Observed]) -> bool:
    """Whether the architecture draws every matrix as the rules say."""
    own = stds_of(arch)
    for name in arch.weights:
        if name not in rules or name not in WEIGHTS:
            continue
        one, rule = roles[name], rules[name]
        with np.errstate(divide="ignore", invalid="ignore"):
            expected = over_layers(rule.std, arch, one.layers)
            ratio = own[name][one.layers.astype(int)] / expected
        allowed = SAME if rule.known else 4.5 * float(one.errors.max())
        if not np.all((np.abs(ratio - 1) < allowed) | ((expected == 0) & (own[name][0] == 0))):
            return False
    return True


def stds_of(arch: Architecture) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """Standard deviation of an entry of each matrix of the two branches at every layer."""
    layers = np.arange(arch.depth, dtype=float)
    gains, result = arch.base_gains, {}
    rule = SCALINGS[arch.scaling]
    both = {"attn.": rule.multipliers("attention"), "ffn.": rule.multipliers("ffn")}
    for name, (inputs, _) in arch.weights.items():
        if not name.startswith(tuple(both)):  # a gate's, which the placement states
            continue
        own = both[name.partition(".")[0] + "."]
        std = np.full(arch.depth, (gains[name] / inputs) ** 0.5)
        if name in own.std:
            std = over_layers(own.std[name], arch, layers)
        result[name] = std * (over_layers(own.gains[name], arch, layers) if name in own.gains else 1.0)
    return result


PREFIX = "as-read-"


def _registered(rules: Mapping[str, Rule]) -> str:
    """The name of a registered rule that states these standard deviations."""
    std = {name: rule.std for name, rule in rules.items()}
    text = repr(sorted((name, str(value)) for name, value in std.items()))
    name = PREFIX + hashlib.sha256(text.encode()).hexdigest()[:8]
    if name not in SCALINGS:

        @scaling(name, title="as read from a module", source="a module's tensors")
        def read(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
            """The standard deviations of a module's matrices."""
            return Multipliers(std=std)

    return name
