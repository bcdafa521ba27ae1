"""The net that a placement's definition sees: the operations of a block, and where in the stack it stands."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any, NamedTuple, TypeVar

from sympy import Expr, Integer, Rational, sqrt

from ..base import symbols
from ..base.arguments import choice, real, whole
from ..base.errors import InputError, shown
from .expressions import exact
from .graph import (
    GATES,
    QK,
    QKV,
    SUBLAYERS,
    Branch,
    Gain,
    Modulated,
    Norm,
    Product,
    Stream,
    Sum,
    Trace,
    Value,
)
from .position import MIDDLE, Position, Questions
from .reach import OPEN, Reach, plain_reach
from .scaling import Multipliers, ScalingRule

Node = TypeVar("Node", bound=Value)

#: blocks after which the turns of a placement begin anew, at most: each of them is derived
LONGEST_PERIOD = 64


class NormConstants(NamedTuple):
    """The constants of all norms of a stack.

    Attributes:
        epsilon: what is added to the mean square under the root.
        gain: what a normed value is multiplied by.
    """

    epsilon: float = 0.0
    gain: float = 1.0


#: of each function of a gate, its mean at logits of mean zero, and the factor a with which it is that mean
#: plus a tanh(a z)
GATE_FUNCTIONS = {"sigmoid": (Rational(1, 2), Rational(1, 2)), "tanh": (Integer(0), Integer(1))}

#: the gates that have a number for each of these
GATED = dict(zip(("channel", "token"), GATES, strict=True))

#: norms without an epsilon, of gain 1
PLAIN_NORMS = NormConstants()


class Net:
    """The operations of a transformer block, recorded as nodes.

    Attributes:
        first: whether this is the first block of the stack.
        layer, depth, width: the symbols l (zero-based block index), L and d, for multipliers.
    """

    layer = symbols.layer
    depth = symbols.depth
    width = symbols.width

    def __init__(
        self,
        rule: ScalingRule,
        position: Position = MIDDLE,
        norms: NormConstants = PLAIN_NORMS,
        reach: Reach = OPEN,
    ) -> None:
        self.first = position.first
        self.questions = Questions()
        self._position = position
        self._rule = rule
        self._norms = norms
        self._reach = reach
        self._nodes: list[Value] = []

    def early(self, fraction: float) -> bool:
        """Whether this block is among the first floor(fraction x L) blocks."""
        real("the early blocks", fraction, "a fraction in [0, 1] of all", lambda x: 0 <= x <= 1)
        self._ask(fraction=Rational(str(fraction)))
        return self._position.early

    def turn(self, period: int) -> int:
        """l modulo ``period``."""
        self._ask(period=whole("the period of turns", period, 1, LONGEST_PERIOD))
        return self._position.turn

    def _ask(self, **question: Any) -> None:
        (name, value), asked = next(iter(question.items())), self.questions
        if getattr(asked, name) not in (None, value):
            raise InputError(
                f"a placement may ask for one {name} only, got {getattr(asked, name)} and {value}"
            )
        self.questions = Questions(**{"fraction": asked.fraction, "period": asked.period, **question})

    def _keep(self, make: Callable[[int], Node]) -> Node:
        node = make(len(self._nodes))
        self._nodes.append(node)
        return node

    def _multipliers(self, sublayer: str) -> Multipliers:
        return self._rule.multipliers(sublayer)

    def norm(self, x: Value, constants: NormConstants | None = None) -> Norm:
        """Norm(x): per token, x over the root of its mean square over coordinates, with the architecture's
        gain and epsilon, or with ``constants`` of its own."""
        self.check(x)
        epsilon, gain = map(exact, self._norms if constants is None else constants)
        return self._keep(lambda i: Norm(self, i, x, epsilon, gain))

    def attention(
        self,
        x: Value,
        *,
        qkv_norm: bool = False,
        qk_norm: bool = False,
        inner_norm: bool = False,
        window: int | str | None = None,
        positions: str | None = None,
    ) -> Branch:
        """Multi-head softmax attention of ``x``, with output projection. ``qk_norm`` normalises queries and
        keys over each head, ``qkv_norm`` values too, ``inner_norm`` the mixed values of all heads before
        the output projection. ``window`` ("full" for none) and ``positions`` are those of this branch,
        whatever the architecture and its pattern say; None leaves it to them."""
        normed = QKV if qkv_norm else QK if qk_norm else ()
        reach = plain_reach(window, positions).over(self._reach)
        return self.branch("attention", x, normed, inner_norm, reach)

    def ffn(self, x: Value, *, inner_norm: bool = False) -> Branch:
        """The feed-forward branch of ``x``; ``inner_norm`` normalises the hidden layer before the down
        projection."""
        return self.branch("ffn", x, (), inner_norm)

    def pointwise(self, x: Value, activation: str) -> Branch:
        """A registered activation of every coordinate of ``x``, in a norm's place: only a branch, or the
        output of the model, may read it."""
        from ..gaussian.activations import ACTIVATIONS

        if ACTIVATIONS[activation].gated:
            raise InputError(f"{activation} is gated, it takes two inputs; use an activation of one")
        return self._keep(lambda i: Branch(self, i, activation, self._checked(x)))

    def gate(
        self,
        x: Value,
        by: Value | None = None,
        *,
        logits: Any,
        per: str = "channel",
        function: str = "sigmoid",
    ) -> Value:
        """A value times a gate, the ``function`` of a random map W of what the gate reads.

        Args:
            x: the value.
            by: what the gate reads; None for ``x``.
            logits: d times the variance of W's entries, that of a logit for an input of second moment 1: a
                number or an expression in (l, L, d), which the scaling rule leaves as it is. Zero is the gate
                at its centre, a constant.
            per: "channel" for a gate of each coordinate, "token" for one number that all share.
            function: "sigmoid" or "tanh".

        Returns:
            the product; a sigmoid is written as 1/2 + tanh(z/2)/2.

        Raises:
            InputError: a negative variance, or another word.
        """
        by = self._checked(x) if by is None else self._checked(by)
        kind = GATED[choice("per", per, GATED)]
        mean, slope = GATE_FUNCTIONS[choice("function", function, GATE_FUNCTIONS)]
        variance = exact(logits)
        if variance.is_negative:
            raise InputError(f"the variance of a gate's logits must not be negative, got {shown(logits)}")
        if variance == 0:
            return self.sum([(mean, x)])
        count = sum(isinstance(node, Branch) and node.kind == kind for node in self._nodes)
        name = f"{GATES[kind]}{count}"
        stated, outputs = {name: sqrt(variance / self.width)}, {} if slope == 1 else {name: slope}
        gate = self._keep(lambda i: Branch(self, i, kind, by, std=stated, outputs=outputs))
        product = self._keep(lambda i: Product(self, i, gate, x))
        return product if mean == 0 else self.sum([(mean, x), (slope, product)])

    def modulated(self, gradient: Value, by: Any) -> Modulated:
        """A gradient times what has mean zero and the covariance ``by`` (called where a trace is turned
        around)."""
        return self._keep(lambda i: Modulated(self, i, gradient, by))

    def branch(
        self,
        kind: str,
        x: Value,
        normed: tuple[str, ...] = (),
        inner_norm: bool = False,
        reach: Reach = OPEN,
    ) -> Branch:
        """The output of a branch of ``kind`` on ``x``, which the scaling rule may scale if it is normed."""
        self.check(x)
        if kind not in SUBLAYERS:
            return self._keep(lambda i: Branch(self, i, kind, x))
        rule = self._multipliers(kind)
        if rule.norm != 1:
            if not (isinstance(x, Norm) or (isinstance(x, Branch) and x.elementwise)):
                raise InputError(
                    f"the scaling rule {self._rule.name} multiplies the norm in front of each branch, and "
                    f"the {kind} branch of this placement reads {x}, which is not a norm's output"
                )
            x = self.sum([(rule.norm, x)])
        factors = dict(rule.gains), dict(rule.std), dict(rule.outputs)
        return self._keep(lambda i: Branch(self, i, kind, x, normed, inner_norm, *factors, reach))

    def add(self, stream: Value, *branches: Value, skip: Any = None) -> Sum:
        """alpha * stream + beta * branch, with the scaling rule's multipliers for that sublayer; several
        branches are added at once. ``skip`` replaces alpha; at 0 the stream is left out."""
        terms: list[tuple[Expr, Value]] = []
        rules: list[Multipliers] = []
        for branch in branches:
            if not self._checked(branch).sublayers:
                raise InputError(
                    "net.add(stream, branch) needs a branch (attention or ffn output) as its second "
                    "argument; add two streams with a plain +"
                )
            own = [self._multipliers(sublayer) for sublayer in sorted(branch.sublayers)]
            beta = self._common([rule.branch for rule in own])
            learnt = any(rule.learnt for rule in own)
            terms.append(self._multiplier(branch, beta) if learnt else (beta, branch))
            rules += own
        alpha = self._common([rule.skip for rule in rules]) if skip is None else skip
        return self.sum([(alpha, self._checked(stream)), *terms] if alpha != 0 else terms)

    def gain(self, branch: Value, start: Any) -> Gain:
        """The output of a branch, or of a norm behind it, times a learnt gain of each coordinate.

        Args:
            start: a number or an expression in (l, L, d) at which all coordinates start.

        Returns:
            the product; tables have a row for the gain's gradient, "attn.gain" or "ffn.gain".

        Raises:
            InputError: a value that a stream is in.
        """
        if not self._checked(branch).sublayers:
            raise InputError(f"net.gain(branch, start) needs what attention or ffn puts out, got {branch}")
        return self._learnt(branch, exact(start), "gain")

    def _multiplier(self, branch: Value, start: Expr) -> tuple[Expr, Gain]:
        """The branch times its learnt multiplier, which is one for all streams that it is added to, and the
        factor that the definition gives it in this one."""
        factor = Integer(1)
        while isinstance(branch, Sum) and not isinstance(branch, Gain) and len(branch.terms) == 1:
            own, branch = branch.terms[0]
            factor = factor * own
        return factor, self._learnt(branch, start, "multiplier")

    def _learnt(self, branch: Value, start: Expr, what: str) -> Gain:
        """The one multiplier of this name that a value of the block has."""
        name = "".join(SUBLAYERS[kind] for kind in sorted(branch.sublayers)) + what
        own = (node for node in self._nodes if isinstance(node, Gain) and node.source is branch)
        known = next((node for node in own if node.name == name), None)
        return known or self._keep(lambda i: Gain(self, i, ((start, branch),), name))

    def _common(self, factors: list[Expr]) -> Expr:
        if len(set(factors)) > 1:
            raise InputError(
                f"the scaling rule {self._rule.name} gives attention and ffn factors of their own, and this "
                "placement adds them at once; use a rule with one factor"
            )
        return factors[0]

    def sum(self, terms: list[tuple[Any, Value]]) -> Sum:
        """A linear combination, without any multiplier of the scaling rule."""
        for _, value in terms:
            self.check(value)
        # anything else than numbers is checked by record: readers build sums of their own kind
        kept = tuple((exact(f) if isinstance(f, Real) else f, value) for f, value in terms)
        return self._keep(lambda i: Sum(self, i, kept))

    def stream(self, position: int) -> Stream:
        """The incoming stream at ``position`` (called by the tracer, before the definition runs)."""
        return self._keep(lambda i: Stream(self, i, position))

    def finish(self, streams: tuple[Stream, ...], outputs: tuple[Value, ...]) -> Trace:
        """The trace of all that has been recorded."""
        return Trace(streams, tuple(self._nodes), outputs)

    def _checked(self, value: Value) -> Value:
        self.check(value)
        return value

    def check(self, value: object) -> None:
        """Refuse what is no value of this trace."""
        if not isinstance(value, Value) or value.net is not self:
            raise InputError(
                f"a placement works on the streams it is given and on what net returns; got {shown(value)}"
            )
