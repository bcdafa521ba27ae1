"""Run a placement's definition, and refuse traces that mean nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sympy import Expr, Integer

from ..base.callables import calling
from ..base.errors import InputError, shown
from .expressions import exact, require_usable
from .graph import SUBLAYERS, Branch, Norm, Product, Sum, Trace, Value
from .net import PLAIN_NORMS, Net, NormConstants
from .position import MIDDLE, Position, Questions
from .reach import OPEN, Reach
from .scaling import ScalingRule


def record(
    definition: Callable[..., Any],
    rule: ScalingRule,
    streams: int,
    position: Position = MIDDLE,
    options: Mapping[str, Any] | None = None,
    what: str = "the definition",
    norms: NormConstants = PLAIN_NORMS,
    reach: Reach = OPEN,
) -> tuple[Trace, Questions]:
    """Call ``definition`` on ``streams`` symbolic streams; the trace, and what was asked.

    Args:
        what: the definition's name in messages.
        norms: constants of the norms.
        reach: that of attention where the definition leaves it open.

    Raises:
        InputError: the definition raises an error, which is named with its place; returns something else than
            values of this trace, uses a branch twice, adds an element-wise function to a stream, has one
            beside gates, norms what is always zero, or multiplies by something else than expressions in
            (l, L, d).
    """
    net = Net(rule, position, norms, reach)
    inputs = tuple(net.stream(i) for i in range(streams))
    with calling(definition, what, f" on {'a stream' if streams == 1 else 'streams'}"):
        result = definition(inputs[0] if streams == 1 else inputs, net, **(options or {}))
    outputs = tuple(result) if isinstance(result, (tuple, list)) else (result,)
    for output in outputs:
        if not isinstance(output, Value) or output.net is not net:
            raise InputError(
                f"{what} must return the stream that it gets, or what net makes of it; got {shown(output)}"
            )
    trace = net.finish(inputs, outputs)
    for node in trace.nodes:
        for factor, _ in node.terms if isinstance(node, Sum) else ():
            require_usable(exact(factor))
    _require_single_use(trace)
    _require_read_by_branches(trace)
    if any(branch.gates for branch in trace.branches) and any(b.elementwise for b in trace.branches):
        raise InputError(
            "an element-wise function in a norm's place reads a Gaussian stream, which gates do not leave: a "
            "definition has one or the other"
        )
    for node in trace.nodes:
        if isinstance(node, Norm) and node.epsilon == 0 and _vanishes(node.source):
            raise InputError(
                f"the definition norms {node.source}, which is always zero under the scaling rule "
                f"{rule.name}; take another rule, or norm something else"
            )
    return trace, net.questions


def _vanishes(value: Value) -> bool:
    """Whether a value is zero by its factors and the scaling rule's."""
    if isinstance(value, Branch):
        return value.silent
    if isinstance(value, Product):
        return _vanishes(value.source)
    return isinstance(value, Sum) and all(
        factor == 0 or _vanishes(part) for part, factor in _terms(value).items()
    )


def _terms(value: Value) -> dict[Value, Expr]:
    """The factors of a linear combination, by what is no sum itself."""
    if not isinstance(value, Sum):
        return {value: Integer(1)}
    total: dict[Value, Expr] = {}
    for factor, part in value.terms:
        for inner, own in _terms(part).items():
            total[inner] = total.get(inner, Integer(0)) + factor * own
    return total


def _require_single_use(trace: Trace) -> None:
    kinds = [branch.kind for branch in trace.branches if branch.kind in SUBLAYERS]
    twice = sorted({kind for kind in kinds if kinds.count(kind) > 1})
    if twice:
        raise InputError(
            f"the definition applies the {twice[0]} branch twice in one block, but a block has one attention "
            "and one feed-forward branch and each weight is used once"
        )


def _require_read_by_branches(trace: Trace) -> None:
    """Refuse element-wise values inside a norm, or in a sum that a stream or a norm reads."""

    def of(value: Value) -> set[int]:
        if isinstance(value, Branch):
            return {value.index} if value.elementwise else set()
        return set().union(*(of(source) for source in value.sources))

    mixed: list[Value] = [node for node in trace.nodes if isinstance(node, Norm) and of(node)]
    mixed += [out for out in trace.outputs if not isinstance(out, Branch) and of(out)]
    mixed += [node for node in trace.nodes if isinstance(node, Sum) and len(node.terms) > 1 and of(node)]
    if mixed:
        raise InputError(
            f"an element-wise function in a norm's place may be read by a branch, or be the output of the "
            f"model, but {mixed[0]} adds or norms it"
        )
