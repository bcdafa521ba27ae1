r"""The recurrences of stream and gradient moments through a stack, and what follows from one block's step."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, lru_cache, partial
from typing import Any, Self

from sympy import Eq, Expr, Integer, Mul, Symbol, factor, sqrt

from ..base import arguments, symbols
from ..base.errors import InputError, NoClosedForm, shown
from ..base.formulas import IDENTITY, RATIO, of_stream
from ..gaussian.activations import ACTIVATIONS
from ..moments.copies import copies
from ..moments.one_token import BranchGain, Step, concrete_gains, constant_gains, tidy
from ..spec.architecture import parse_placement
from ..spec.placements import PLACEMENTS
from ..spec.scalings import SCALINGS
from .closed_forms import ClosedForms, Pairs, attempt, product_of_ratios, solve_forward


@dataclass(frozen=True)
class Recurrence:
    """Second moments of streams and gradients from block to block, in the wide limit.

    Assumes: width to infinity at fixed depth; zero-mean independent weights; each branch's gains
    constant over layers (degree one in its input where the input is not normed).
    """

    placement: str
    scaling: str
    activation: str | None
    name: str
    options: Mapping[str, Any] = field(repr=False)
    early: bool = field(default=False, repr=False)

    @classmethod
    def of(cls, placement: str, scaling: str = "unit", *, activation: str | None = None) -> Self:
        """The recurrence of a placement under a scaling rule, from its definition.

        Args:
            placement: a registered name, with options in brackets if it has any.
            scaling: a registered scaling rule.
            activation: of the feed-forward branch, whose gains are then those at fan-in initialisation;
                None keeps all four gains as symbols.

        Returns:
            the recurrence.

        Raises:
            UnknownNameError: a name that is not registered.
            InputError: the rule does not belong to this placement.
        """
        name, options = parse_placement(placement)
        entry = PLACEMENTS[name]
        rule = SCALINGS[scaling]
        rule.check(name)
        if activation is not None:
            ACTIVATIONS[activation]
        return cls(placement, rule.name, activation, name, entry.check_options(options))

    def __getstate__(self) -> dict[str, Any]:
        # formulas found so far hold functions that do not travel; the fields are enough to find them again
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @cached_property
    def kept(self) -> dict[Hashable, Any]:
        """What others derive from it and keep beside its own formulas, by names of theirs."""
        return {}

    @property
    def _gains(self) -> BranchGain:
        return constant_gains if self.activation is None else concrete_gains(self.activation)

    def _step(self, first: bool, known: Mapping[Pairs, Expr] | None = None, turn: int = 0) -> Step:
        entry = PLACEMENTS[self.name]
        trace = entry.trace(self.scaling, first=first, early=self.early, turn=turn, **self.options)
        return _shared_step(trace, self._gains, tuple((known or {}).items()))

    @cached_property
    def before(self) -> Self | None:
        """The recurrence of the early blocks, where they are wired in another way."""
        fraction = PLACEMENTS[self.name].questions(self.scaling, **self.options).fraction
        return replace(self, early=True) if fraction and not self.early else None

    @cached_property
    def block(self) -> Step:
        """A block in the middle of the stack, for any incoming moments."""
        return self._step(first=False)

    @cached_property
    def first(self) -> Step:
        """The first block, for any incoming moments."""
        return self._step(first=True)

    @cached_property
    def fixed(self) -> dict[Pairs, Expr]:
        """Stream moments that a block sets whatever comes in, as they leave it (in l)."""
        states = {self.block.moment(*pair) for pair in self.block.pairs}
        blocks = [self._step(False, None, turn).forward for turn in range(self._period)]
        set_by_all = (pair for pair, f in blocks[0].items() if all(block[pair] == f for block in blocks))
        return {p: blocks[0][p] for p in set_by_all if not blocks[0][p].free_symbols & states}

    @property
    def _period(self) -> int:
        """The turns in which blocks are wired."""
        return PLACEMENTS[self.name].questions(self.scaling, **self.options).period or 1

    @cached_property
    def opening(self) -> tuple[Step, ...]:
        """Blocks that differ from the rest, with their incoming moments filled in: block 0 where it is
        wired differently or reads a stream that later blocks find normed, and the one after it
        where block 0 leaves something else than later blocks do. Behind early blocks, none."""
        if self.before is not None:
            return ()
        q0 = symbols.initial_variance
        known: dict[Pairs, Expr] = dict.fromkeys(self.block.pairs, q0)
        first = self._step(True, known)
        same = str(first.trace) == str(self.block.trace)
        if same and not self.fixed:
            return ()
        after = {pair: f.subs(symbols.layer, 0) for pair, f in first.forward.items()}
        usual = {pair: f.subs(symbols.layer, 0) for pair, f in self.fixed.items()}
        if all(tidy(after[pair] - usual[pair]) == 0 for pair in usual):
            return (first,)
        return (first, self._step(False, after, 1 % self._period))

    @property
    def start(self) -> Expr:
        """The first block from which :attr:`step` holds; behind early blocks a L, as if that were whole."""
        if self.before is None:
            return Integer(len(self.opening))
        fraction = PLACEMENTS[self.name].questions(self.scaling, **self.options).fraction
        return Integer(1) * fraction * symbols.depth

    @cached_property
    def step(self) -> Step:
        """A block from :attr:`start` on, with the moments that a norm fixes filled in."""
        return self.turns[0]

    @cached_property
    def turns(self) -> tuple[Step, ...]:
        """Blocks from :attr:`start` on, likewise, one for each turn where they are wired in turns."""
        l = symbols.layer
        known = {p: tidy(f.subs(l, l - 1)) for p, f in self.fixed.items()}
        return tuple(self._step(False, known, turn) for turn in range(self._period))

    def common(self, read: Callable[[Step], Any]) -> Any:
        """A reading of a block from :attr:`start` on that all turns have in common.

        Raises:
            NoClosedForm: they differ in it.
        """
        found, *others = map(read, self.turns)
        if any(other != found for other in others):
            raise NoClosedForm("blocks are wired in turns, and differ in it")
        return found

    # --- forward -----------------------------------------------------------------------------

    @property
    def forward(self) -> list[Eq]:
        """Moments of the streams after a block in the middle of the stack."""
        return [Eq(_next(self.block.moment(*p)), f, evaluate=False) for p, f in self.block.forward.items()]

    @property
    def backward(self) -> list[Eq]:
        """Gradient moments before a block, in those after it (written with a prime)."""
        count = len(self.block.trace.streams)
        renamed = {self.block.gradient(*p): _next(self.block.gradient(*p)) for p in self.block.pairs}
        return [
            Eq(symbols.stream_moment(symbols.grad_variance, *p, count), f.subs(renamed), evaluate=False)
            for p, f in self.block.backward.items()
        ]

    @cached_property
    def initial(self) -> list[dict[Pairs, Expr]]:
        """Stream moments at l = 0, ..., start; behind early blocks, those at start."""
        if self.before is not None:
            if self.fixed:
                raise NoClosedForm("early and late blocks both fix stream moments, to different values")
            return [{pair: self.before.moment_at(pair, self.start) for pair in self.block.pairs}]
        rows = [dict.fromkeys(self.block.pairs, symbols.initial_variance)]
        for l, step in enumerate(self.opening):
            rows.append({p: tidy(f.subs(symbols.layer, l)) for p, f in step.forward.items()})
        return rows

    @cached_property
    def _forward_solution(self) -> tuple[dict[Pairs, Expr], dict[Pairs, str]]:
        moments = {p: self.step.moment(*p) for p in self.step.pairs}
        first = self._alike  # moments of copies are one unknown
        same = {moments[p]: moments[first[p]] for p in moments if moments[p].is_Symbol}
        unknown = tuple(dict.fromkeys(first.values()))
        steps = self.common(lambda step: {p: tidy(step.forward[p].subs(same)) for p in unknown})
        solved, reasons = solve_forward(steps, moments, self.start, self.initial[-1])
        return (
            {p: solved[first[p]] for p in moments if first[p] in solved},
            {p: reasons[first[p]] for p in moments if first[p] in reasons},
        )

    @cached_property
    def _alike(self) -> dict[Pairs, Pairs]:
        """For each pair of streams the first one that has its moment at every layer, by copies (T3.5)."""
        others = (self.before.block,) if self.before is not None else ()
        blocks = dict.fromkeys((self.first, *others, *self.turns))
        places = copies(tuple(step.trace for step in blocks))
        kinds = {(i, j): tuple(sorted((places[i], places[j]))) for i, j in self.step.pairs}
        firsts: dict[tuple[int, ...], Pairs] = {}
        for pair, kind in kinds.items():
            firsts.setdefault(kind, pair)
        return {pair: firsts[kind] for pair, kind in kinds.items()}

    def moment_at(self, pair: Pairs, layer: Expr) -> Expr:
        """Closed form of the moment of a pair of streams at ``layer`` >= start.

        Args:
            pair: numbers of two streams, or one twice.
            layer: a number, or an expression in l and L.

        Returns:
            the second moment, in q_0, the gains, l and L.

        Raises:
            InputError: no such pair.
            NoClosedForm: there is none; the message says why.
        """
        if not isinstance(pair, tuple) or pair not in self.step.pairs:
            raise InputError(f"pair must be one of {', '.join(map(str, self.step.pairs))}, got {shown(pair)}")
        solved, reasons = self._forward_solution
        if pair not in solved:
            raise NoClosedForm(f"no closed form for {self.block.moment(*pair)}: {reasons[pair]}")
        return solved[pair].subs(symbols.layer, layer)

    # --- backward ----------------------------------------------------------------------------

    @cached_property
    def ratio(self) -> Expr:
        """gamma_l / gamma_{l+1} of a block from :attr:`start` on, as a function of l (one stream).

        Raises:
            NoClosedForm: several streams, whose gradients mix, or no closed form of the stream moment.
        """
        if len(self.step.trace.streams) > 1:
            raise NoClosedForm("the gradients of several streams mix in every block: a product of matrices")
        matrix = self.common(lambda step: step.backward_matrix[0, 0])
        state = self.step.moment(0, 0)
        if state.is_Symbol and matrix.has(state):
            matrix = matrix.subs(state, self.moment_at((0, 0), symbols.layer))
        return factor(matrix) if matrix.is_rational_function() else matrix

    def gradient_ratio(self, stop: Expr = symbols.depth) -> Expr:
        """gamma_0 / gamma_stop in closed form; by default of the whole stack.

        Args:
            stop: the layer of the gradient that it is relative to.

        Returns:
            an expression in q_0, the gains and L.

        Raises:
            NoClosedForm: there is none; the message says why.
        """
        return self.opening_ratio * product_of_ratios(self.ratio, self.start, stop)

    @property
    def opening_ratio(self) -> Expr:
        """gamma_0 / gamma_start, of the blocks before :attr:`step` holds."""
        if self.before is not None:
            return self.before.gradient_ratio(self.start)
        return Mul(*(s.backward_matrix[0, 0].subs(symbols.layer, l) for l, s in enumerate(self.opening)))

    @cached_property
    def readout(self) -> Step:
        """The step from the last block's output to the model's output."""
        return _shared_step(PLACEMENTS[self.name].trace_readout(), constant_gains)

    def identity_gain(self, stream: int = 0, stop: Expr = symbols.depth) -> Expr:
        """Amplitude gain of the skip path alone from the input to layer ``stop``, by default the last
        block's output.

        The product of all norm and skip factors, as often quoted for gradients. It is not the
        gradient: the branches carry most of what the norms divide away.

        Args:
            stream: number of the stream, from 0.
            stop: the layer up to which.

        Returns:
            an expression in q_0, the gains and L.

        Raises:
            InputError: no such stream.
            NoClosedForm: there is none; the message says why.
        """
        stream = arguments.whole("stream", stream, 0, len(self.step.trace.streams) - 1)
        gain, block = self.opening_identity(stream), self.block_identity(stream)
        if block == 1:
            return gain
        return gain * sqrt(product_of_ratios(tidy(block**2), self.start, stop))

    def opening_identity(self, stream: int = 0) -> Expr:
        """Amplitude gain of the skip path up to :attr:`start`, before :attr:`step` holds.

        Args:
            stream: number of the stream, from 0.

        Returns:
            an expression in q_0 and the gains.
        """
        if self.before is not None:
            return self.before.identity_gain(stream, self.start)
        return Mul(*(s.identity[stream].subs(symbols.layer, l) for l, s in enumerate(self.opening)))

    def block_identity(self, stream: int = 0) -> Expr:
        """Amplitude gain of the skip path through one block from :attr:`start` on, as a function of l.

        Args:
            stream: number of the stream, from 0.

        Returns:
            an expression in the gains and l.
        """
        block = self.common(lambda step: step.identity[stream])
        for pair in self.step.pairs:
            state = self.step.moment(*pair)
            if state.is_Symbol and block.has(state):
                block = block.subs(state, self.moment_at(pair, symbols.layer))
        return block

    # --- of both ------------------------------------------------------------------------------

    def closed_form(self) -> ClosedForms:
        """Every quantity that has a closed form, and the reason for each that has none.

        Returns:
            formulas in l by name: ``q``, or ``q_00``, ``q_01``, ... of several streams; ``gradient_ratio``,
            gamma_0/gamma_L of one stream; ``identity_gain``, or ``identity_gain_0``, ... of several.
            ``found`` and ``missing`` (with reasons) are its dictionaries, ``start`` the layer from which on
            it holds.

        Raises:
            NoClosedForm: there is none, when a name is asked for.

        Example:
            >>> import spannorm_theory as st
            >>> st.derive("pre-norm").closed_form()["identity_gain"]
            1
        """
        found: dict[str, Expr] = {}
        missing: dict[str, str] = {}
        for pair in self.step.pairs:
            name = str(self.block.moment(*pair))
            attempt(partial(self.moment_at, pair, symbols.layer), name, found, missing)
        if len(self.step.trace.streams) == 1:
            attempt(self.gradient_ratio, RATIO, found, missing)
        else:
            missing[RATIO] = "the gradients of several streams mix in every block"
        for stream in range(len(self.step.trace.streams)):
            name = of_stream(IDENTITY, stream, len(self.step.trace.streams))
            attempt(partial(self.identity_gain, stream), name, found, missing)
        return ClosedForms(found, missing, self.start)

    def conserved(self) -> tuple[Expr, Expr]:
        """K = sum_ij gamma_ij q_ij over streams, and K before a block minus K after it (T4.4).

        The difference is a sum over the block's branches of (omega^2 - sigma^2) times something
        positive: K is conserved exactly when omega = sigma in every branch.

        Returns:
            both expressions, in the moments of streams and of gradients.
        """
        block = self.block

        def total(moments: Mapping[Pairs, Expr], gradients: Mapping[Pairs, Expr]) -> Expr:
            return sum((1 if i == j else 2) * moments[i, j] * gradients[i, j] for i, j in block.pairs)

        after = total(block.forward, {p: block.gradient(*p) for p in block.pairs})
        before = total({p: block.moment(*p) for p in block.pairs}, block.backward)
        return before, tidy(before - after)


#: steps keep what they computed: a placement's block is asked for by many readers
_shared_step = lru_cache(maxsize=512)(Step)


def _next(symbol: Symbol) -> Symbol:
    return symbols.after(symbol)
