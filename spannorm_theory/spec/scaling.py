"""A scaling rule: how it multiplies skips, branches, norms, weights and the embedding.

A rule is one function of (sublayer, l, L, d) that returns :class:`Multipliers`, sympy expressions
that every reader evaluates. ``sublayer`` is ``"attention"`` or ``"ffn"``, l the zero-based block
index, L the number of blocks (two sublayers each), d the width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, reduce
from typing import Any

from sympy import Expr, Integer, Rational, nan, oo, zoo

from ..base import symbols
from ..base.errors import InputError, SpannormError, UnknownNameError
from ..base.registry import Registry

ONE = Integer(1)
WEIGHTS = (
    "attn.query",
    "attn.key",
    "attn.value",
    "attn.output",
    "ffn.up",
    "ffn.gate",
    "ffn.down",
)


def exact(factor: Any) -> Expr:
    """A factor as sympy has it: numbers as rationals, expressions as they are.

    Raises:
        InputError: neither a number nor an expression.
    """
    if isinstance(factor, (int, float)) and not isinstance(factor, bool):
        return Rational(str(factor))
    if not isinstance(factor, Expr):
        raise InputError(f"a factor is a number or a sympy expression in (l, L, d), got {factor}")
    return factor


def require_usable(factor: Expr) -> None:
    """Refuse expressions in anything else than (l, L, d), and what is no finite number."""
    if factor.has(nan, oo, zoo):
        raise InputError(f"a factor must be finite, got {factor}")
    foreign = factor.free_symbols - {symbols.layer, symbols.depth, symbols.width}
    if foreign:
        raise InputError(
            f"a factor is an expression in (l, L, d), got {factor} with {sorted(map(str, foreign))}; take l, "
            "L and d from the rule's arguments, or net.layer, net.depth and net.width"
        )


@dataclass(frozen=True)
class Multipliers:
    """The factors of a rule at one sublayer; numbers or sympy expressions in (l, L, d).

    Attributes:
        skip, branch: of ``skip * x + branch * F(x)``.
        norm: of the output of the norm in front of F.
        gains: for each weight matrix named, a factor on the standard deviation of its entries.
        std: for each weight matrix named, the standard deviation of its entries itself, in place of what an
            architecture's ``init`` gives.
        learnt: whether ``branch`` is where learnt multipliers start, one for each coordinate (LayerScale);
            the squared gradient of one that all coordinates share has the same mean where it starts at zero.
    """

    skip: Expr = ONE
    branch: Expr = ONE
    norm: Expr = ONE
    gains: Mapping[str, Expr] = field(default_factory=dict)
    std: Mapping[str, Expr] = field(default_factory=dict)
    learnt: bool = False

    def __post_init__(self) -> None:
        for name in (*self.gains, *self.std):
            if name not in WEIGHTS:
                raise UnknownNameError("weight matrix", name, WEIGHTS)
        for name in ("skip", "branch", "norm"):
            object.__setattr__(self, name, exact(getattr(self, name)))
        for name in ("gains", "std"):
            found = {matrix: exact(value) for matrix, value in getattr(self, name).items()}
            object.__setattr__(self, name, found)
        for factor in (self.skip, self.branch, self.norm, *self.gains.values(), *self.std.values()):
            require_usable(factor)

    def __mul__(self, other: Multipliers) -> Multipliers:
        """Both rules at once; a factor of one acts on what the other states.

        Raises:
            InputError: both state the standard deviation of one matrix.
        """
        twice = sorted(set(self.std) & set(other.std))
        if twice:
            raise InputError(
                f"both rules state the standard deviation of {', '.join(twice)}; combine a rule that states "
                "it with rules that multiply"
            )
        gains = {
            name: self.gains.get(name, ONE) * other.gains.get(name, ONE)
            for name in WEIGHTS
            if name in self.gains or name in other.gains
        }
        std = {**self.std, **other.std}
        skip, branch, norm = self.skip * other.skip, self.branch * other.branch, self.norm * other.norm
        return Multipliers(skip, branch, norm, gains, std, self.learnt or other.learnt)


def _unscaled(L: Expr, d: Expr) -> Expr:
    return ONE


@dataclass(frozen=True)
class ScalingRule:
    """A registered scaling rule.

    Attributes:
        embedding: factor on the embedding, in (L, d).
        only: the placements that it makes sense with; empty for all.
    """

    name: str
    title: str
    source: str
    function: Callable[[str, Expr, Expr, Expr], Multipliers]
    year: int | None = None
    embedding: Callable[[Expr, Expr], Expr] = _unscaled
    only: tuple[str, ...] = ()

    def multipliers(self, sublayer: str) -> Multipliers:
        """The rule's expressions for ``sublayer``, in the symbols (l, L, d)."""
        return self.function(sublayer, symbols.layer, symbols.depth, symbols.width)

    def check(self, placement: str) -> None:
        """Refuse a placement that the rule is not meant for.

        Raises:
            InputError: naming those that it is meant for.
        """
        if self.only and placement not in self.only:
            reason = f": {self.doc}" if self.doc else ""
            raise InputError(
                f"the scaling rule {self.name!r} belongs to {' and '.join(self.only)}, not to "
                f"{placement}{reason}"
            )

    @property
    def doc(self) -> str:
        """The definition's docstring."""
        return " ".join((self.function.__doc__ or "").split())


class Scalings(Registry[ScalingRule]):
    """The registered rules; ``"a+b"`` is both at once."""

    def __getitem__(self, name: str) -> ScalingRule:
        if not isinstance(name, str) or "+" not in name:
            return super().__getitem__(name)
        return _combined(tuple(super(Scalings, self).__getitem__(part.strip()) for part in name.split("+")))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and all(part.strip() in set(self) for part in name.split("+"))


@lru_cache(maxsize=256)
def _combined(rules: tuple[ScalingRule, ...]) -> ScalingRule:
    def function(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
        return reduce(Multipliers.__mul__, (rule.function(sublayer, l, L, d) for rule in rules))

    def embedding(L: Expr, d: Expr) -> Expr:
        return reduce(lambda a, b: a * b, (rule.embedding(L, d) for rule in rules))

    function.__doc__ = "; ".join(rule.doc for rule in rules)
    limited = [set(rule.only) for rule in rules if rule.only]
    only = tuple(sorted(set.intersection(*limited))) if limited else ()
    if limited and not only:
        raise InputError(f"no placement takes all of {', '.join(rule.name for rule in rules)}")
    return ScalingRule(
        "+".join(rule.name for rule in rules),
        " and ".join(rule.title for rule in rules),
        "; ".join(dict.fromkeys(rule.source for rule in rules)),
        function,
        max((rule.year for rule in rules if rule.year), default=None),
        embedding,
        only,
    )


SCALINGS = Scalings("scaling rule")


def scaling(
    name: str,
    *,
    title: str,
    source: str,
    year: int | None = None,
    embedding: Callable[[Expr, Expr], Expr] = _unscaled,
    only: tuple[str, ...] = (),
    replace: bool = False,
) -> Callable[[Callable[..., Multipliers]], Callable[..., Multipliers]]:
    """Register a scaling rule under ``name``; every feature of the toolkit then works on it.

    Args:
        embedding: factor on the embedding as a function of (L, d).
        only: placements that the rule makes sense with; it is refused for others.
    """
    if "+" in name or not name.strip():
        raise InputError(f"the name of a scaling rule cannot be empty or hold a plus sign, got {name!r}")

    def register(function: Callable[..., Multipliers]) -> Callable[..., Multipliers]:
        rule = ScalingRule(name, title, source, function, year, embedding, only)
        for sublayer in ("attention", "ffn"):
            try:
                found = rule.multipliers(sublayer)
            except SpannormError:
                raise
            except Exception as error:
                raise InputError(
                    f"the scaling rule {name!r} failed on (sublayer, l, L, d), three of them sympy symbols: "
                    f"{type(error).__name__}: {error}"
                ) from error
            if not isinstance(found, Multipliers):
                raise InputError(f"the scaling rule {name!r} must return Multipliers(...), got {found!r}")
        SCALINGS.add(rule, replace=replace)
        return function

    return register
