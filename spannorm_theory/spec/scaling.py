"""A scaling rule: how it multiplies skips, branches, norms, weights and the embedding.

A rule is one function of (sublayer, l, L, d) that returns :class:`Multipliers`, sympy expressions
that every reader evaluates. ``sublayer`` is ``"attention"`` or ``"ffn"``, l the zero-based block
index, L the number of blocks (two sublayers each), d the width. Keyword-only arguments are options, with
their defaults, and come as sympy numbers where they are numbers: ``gamma-init(gamma=0.75)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache, reduce
from typing import Any

import numpy as np
from sympy import Expr, Integer

from ..base import symbols
from ..base.arguments import choice, flag, names
from ..base.callables import calling, require_callable
from ..base.errors import InputError, SpannormError, shown
from ..base.names import require_source
from ..base.names import require_usable as require_usable_name
from ..base.registry import Registry
from ..base.signatures import require_fields_of
from .expressions import at_layers, exact, require_usable
from .options import checked_options, options_of
from .text import parse_rules, placement_text

ONE = Integer(1)
WEIGHTS = (
    "attn.query_down",
    "attn.key_down",
    "attn.query",
    "attn.key",
    "attn.value",
    "attn.output",
    "attn.gate",
    "ffn.up",
    "ffn.gate",
    "ffn.down",
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
        outputs: for each weight matrix named, a factor on what it puts out, beside its entries: moments are
            those of a factor in ``gains``, and the matrix' gradient has the factor once more.
        learnt: whether ``branch`` is where learnt multipliers start, one for each coordinate (LayerScale);
            the squared gradient of one that all coordinates share has the same mean where it starts at zero.

    Raises:
        InputError: an unknown name of a factor or of a matrix, or a factor that is no finite real number in
            (l, L, d).

    Example:
        >>> import spannorm_theory as st
        >>> (st.Multipliers(branch=0.5) * st.Multipliers(gains={"ffn.down": 2})).factors
        (1, 1/2, 1, 2)
    """

    skip: Expr = ONE
    branch: Expr = ONE
    norm: Expr = ONE
    gains: Mapping[str, Expr] = field(default_factory=dict)
    std: Mapping[str, Expr] = field(default_factory=dict)
    outputs: Mapping[str, Expr] = field(default_factory=dict)
    learnt: bool = False

    def __new__(cls, *args: Any, **values: Any) -> Multipliers:
        """Refuse unknown names by the nearest, before the dataclass does without."""
        require_fields_of("Multipliers", [f.name for f in fields(cls)], args, values)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for name in ("skip", "branch", "norm"):
            object.__setattr__(self, name, exact(getattr(self, name)))
        for name in ("gains", "std", "outputs"):
            found = {choice("weight matrix", k, WEIGHTS): exact(v) for k, v in self._stated(name)}
            object.__setattr__(self, name, found)
        object.__setattr__(self, "learnt", flag("learnt", self.learnt))
        for factor in self.factors:
            require_usable(factor)

    def _stated(self, name: str) -> Iterable[tuple[Any, Any]]:
        value = getattr(self, name)
        if not isinstance(value, Mapping):
            raise InputError(
                f"{name} must be a mapping from names of weight matrices to factors, got {shown(value)}"
            )
        return value.items()

    @property
    def factors(self) -> tuple[Expr, ...]:
        """Every expression of the rule at this sublayer."""
        own = (*self.gains.values(), *self.std.values(), *self.outputs.values())
        return (self.skip, self.branch, self.norm, *own)

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
        gains, outputs = _product(self.gains, other.gains), _product(self.outputs, other.outputs)
        std = {**self.std, **other.std}
        skip, branch, norm = self.skip * other.skip, self.branch * other.branch, self.norm * other.norm
        return Multipliers(skip, branch, norm, gains, std, outputs, self.learnt or other.learnt)


def _product(one: Mapping[str, Expr], other: Mapping[str, Expr]) -> dict[str, Expr]:
    """Factors by name, of both."""
    return {
        name: one.get(name, ONE) * other.get(name, ONE) for name in WEIGHTS if name in one or name in other
    }


def _unscaled(L: Expr, d: Expr) -> Expr:
    return ONE


@dataclass(frozen=True)
class ScalingRule:
    """A registered scaling rule.

    Attributes:
        name: with the options that are not their default, in brackets.
        embedding: factor on the embedding, in (L, d) and the options that it names.
        only: the placements that it makes sense with; empty for all.
        options: all of them by name; what they are follows from the name.
    """

    name: str
    title: str
    source: str
    function: Callable[..., Multipliers]
    year: int | None = None
    embedding: Callable[..., Expr] = _unscaled
    only: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def taking(self, options: Mapping[str, Any]) -> ScalingRule:
        """The rule with some of its options chosen.

        Raises:
            UnknownNameError: the rule has no such option; the message has the nearest.
            InputError: a value that the option cannot have, or one that the rule refuses.
        """
        chosen = checked_options(self.name, self.options, options)
        changed = {key: value for key, value in chosen.items() if value != self.options[key]}
        if not changed:
            return self
        text = placement_text(self.name, changed)
        rule = replace(self, name=text, title=f"{self.title}: {text}", options=chosen)
        rule.require_numbers()
        return rule

    def passed(self, function: Callable[..., Any]) -> dict[str, Any]:
        """The options that a function of the rule takes, numbers as sympy has them."""
        taken = options_of("scaling rule", self.name, function, ())
        numbers = {k: exact(v) if type(v) in (int, float) else v for k, v in self.options.items()}
        return {key: value for key, value in numbers.items() if key in taken}

    def multipliers(self, sublayer: str) -> Multipliers:
        """The rule's expressions for ``sublayer``, in the symbols (l, L, d).

        Raises:
            InputError: the function fails, or returns something else.
        """
        return _multipliers(self, sublayer)

    def require_numbers(self) -> None:
        """Refuse a rule that no stack can take.

        Raises:
            InputError: the function fails, returns something else than Multipliers, or has a factor that can
                be no finite real number.
        """
        at_every_depth = [f for sublayer in symbols.GAINS for f in self.multipliers(sublayer).factors]
        for factor in (*at_every_depth, self.embedding_factor):
            if not factor.free_symbols - {symbols.layer}:  # every stack has a layer 0
                at_layers(factor, np.zeros(1), 1, 1)

    @property
    def embedding_factor(self) -> Expr:
        """The factor on the embedding, in the symbols (L, d).

        Raises:
            InputError: the function fails, or returns something else.
        """
        return _embedding(self)

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


@lru_cache(maxsize=1024)
def _multipliers(rule: ScalingRule, sublayer: str) -> Multipliers:
    what = f"the scaling rule {rule.name!r}"
    with calling(rule.function, what, " on (sublayer, l, L, d), three of them sympy symbols"):
        found = rule.function(
            sublayer, symbols.layer, symbols.depth, symbols.width, **rule.passed(rule.function)
        )
    if not isinstance(found, Multipliers):
        raise InputError(f"{what} must return Multipliers(...), got {shown(found)}")
    return found


@lru_cache(maxsize=1024)
def _embedding(rule: ScalingRule) -> Expr:
    what = f"the embedding's factor of the scaling rule {rule.name!r}"
    with calling(rule.embedding, what, " on (L, d), which are sympy symbols"):
        found = exact(rule.embedding(symbols.depth, symbols.width, **rule.passed(rule.embedding)))
    require_usable(found)
    if symbols.layer in found.free_symbols:
        raise InputError(f"{what} is an expression in (L, d), got {shown(found)}")
    return found


class Scalings(Registry[ScalingRule]):
    """The registered rules, by name or with options in brackets; ``"a+b"`` is both at once."""

    def __getitem__(self, name: str) -> ScalingRule:
        if not isinstance(name, str) or not {"+", "("} & set(name):
            return super().__getitem__(name)
        rules = tuple(super(Scalings, self).__getitem__(n).taking(o) for n, o in parse_rules(name))
        return rules[0] if len(rules) == 1 else _combined(rules)

    def __contains__(self, name: object) -> bool:
        try:
            return bool(self[name])  # type: ignore[index]
        except SpannormError:
            return False


@lru_cache(maxsize=256)
def _combined(rules: tuple[ScalingRule, ...]) -> ScalingRule:
    def function(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
        return reduce(Multipliers.__mul__, (rule.multipliers(sublayer) for rule in rules))

    def embedding(L: Expr, d: Expr) -> Expr:
        at = {symbols.depth: L, symbols.width: d}
        return reduce(lambda a, b: a * b, (rule.embedding_factor.subs(at) for rule in rules))

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
    embedding: Callable[..., Expr] = _unscaled,
    only: tuple[str, ...] = (),
    replace: bool = False,
) -> Callable[[Callable[..., Multipliers]], Callable[..., Multipliers]]:
    """Register a scaling rule under ``name``; every feature of the toolkit then works on it.

    Source: docs/extending.md.

    Args:
        name: letters, digits, dots, dashes and underscores, at most 60.
        title: how tables and figures call it.
        source: where it was published.
        year: when; lists are ordered by it.
        embedding: factor on the embedding as a function of (L, d), and of options by their names.
        only: names of placements that the rule makes sense with; it is refused for others. Empty for all.
        replace: whether a name that is taken is defined anew.

    Returns:
        a decorator of ``rule(sublayer, l, L, d, *, option=default)``, which returns :class:`Multipliers`:
        ``sublayer`` is "attention" or "ffn", the next three are sympy symbols of the zero-based block, the
        number of blocks and the width, and an option that is a number is one of sympy's. The decorator
        returns the function as it is.

    Raises:
        InputError: a name that is taken or that text forms cannot hold, an option without a default, or a
            function that fails, returns something else than Multipliers, or has a factor that can be no
            finite real number.

    Example:
        >>> import spannorm_theory as st
        >>> @st.scaling("halves", title="branches / 2", source="this page", replace=True)
        ... def halves(sublayer, l, L, d):
        ...     return st.Multipliers(branch=0.5)
        ...
        >>> st.derive("pre-norm", "halves").closed_form()["q"]
        (l*sigma_a^2 + l*sigma_f^2 + 4*q_0)/4
    """
    require_usable_name("scaling rule", name)
    require_source(title, source, year)
    limits = tuple(names("only", only))
    for placement in limits:
        require_usable_name("placement", placement)

    def register(function: Callable[..., Multipliers]) -> Callable[..., Multipliers]:
        require_callable(function, f"the scaling rule {name!r}", "a function of (sublayer, l, L, d)")
        require_callable(embedding, f"embedding of the scaling rule {name!r}", "a function of (L, d)")
        options = options_of("scaling rule", name, function, ())
        rule = ScalingRule(name, title, source, function, year, embedding, limits, options)
        if SCALINGS.trying:
            rule.require_numbers()
        SCALINGS.add(rule, replace=replace)
        return function

    return register
