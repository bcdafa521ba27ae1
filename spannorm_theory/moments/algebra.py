r"""Second moments of every value in a block, from the moments of the incoming streams (T3.1 to T3.4).

Wide-limit rules, for covariances "cov(v, w)" per coordinate between two values of a trace:

    norm        cov(N(a), w)  = g cov(a, w) / sqrt(cov(a, a) + epsilon), g its gain
    sum         cov(sum c_i a_i, w) = sum c_i cov(a_i, w)
    branch      cov(F(a), w)  = 0 for every w that is not F(a): the branch's last matrix has zero mean
                and is independent of all that came before;  cov(F(a), F(a)) = transfer(cov(a, a))
    product     cov(t o a, w) = 0 likewise, t a gate of mean zero with a fresh matrix;
                cov(t o a, t o a) = cov(t, t) cov(a, a), token pair by token pair

The rules do not depend on what a covariance is made of. An :class:`Algebra` says: a symbol (moments
of one token), a pair (one token, and the drop between two), or a token Gram, full or on a grid of positions.
The backward pass obeys the same rules on the reversed graph (:mod:`spannorm_theory.moments.adjoint`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sympy import Expr, sqrt

from ..base.errors import AssumptionError, InputError
from ..spec.graph import Branch, Modulated, Norm, Product, Stream, Sum, Trace, Value


@dataclass(frozen=True)
class Algebra:
    """The kind of number that covariances are, by the operations that the rules need.

    Attributes:
        rms: root of the second moment plus a number, from cov(v, v) and that.
        left: multiply the first argument of a covariance by a number (or one for each token).
        transpose: cov(w, v) from cov(v, w).
        product: covariance of the product of two independent values, of mean zero, from those of each.
        turned: a covariance of values as a factor of covariances of gradients.
        modulated: covariance of a gradient times an independent value, from that and from such a factor.
        zero: the covariance of independent values.
    """

    rms: Callable[[Any, Any], Any]
    left: Callable[[Any, Any], Any]
    transpose: Callable[[Any], Any]
    product: Callable[[Any, Any], Any]
    turned: Callable[[Any], Any]
    modulated: Callable[[Any, Any], Any]
    zero: Any


def _same(x: Any) -> Any:
    return x


def _times(a: Any, b: Any) -> Any:
    return a * b


#: one second moment, as a sympy expression
SCALAR = Algebra(
    lambda cov, epsilon: sqrt(cov + epsilon),
    _times,
    _same,
    product=_times,
    turned=_same,
    modulated=_times,
    zero=0,
)


class Pair(tuple[Any, Any]):
    """(second moment, drop between two tokens): a covariance of exchangeable tokens."""

    __slots__ = ()

    def __add__(self, other: Any) -> Any:
        return Pair((self[0] + other[0], self[1] + other[1]))

    def scaled(self, factor: Any) -> Pair:
        """The pair with both entries times ``factor``."""
        return Pair((factor * self[0], factor * self[1]))


def _pair_product(a: Pair, b: Pair) -> Pair:
    return Pair((a[0] * b[0], a[0] * b[1] + a[1] * b[0] - a[1] * b[1]))


#: second moment and drop, as sympy expressions; of gradients second moment and covariance
PAIR = Algebra(
    lambda cov, epsilon: sqrt(cov[0] + epsilon),
    lambda factor, cov: cov.scaled(factor),
    _same,
    _pair_product,
    lambda cov: Pair((cov[0], cov[0] - cov[1])),
    lambda by, grad: Pair((by[0] * grad[0], by[1] * grad[1])),
    Pair((0, 0)),
)


_NO_GRAM = 0.0


def _gram_left(factor: Any, cov: Any) -> Any:
    if cov is _NO_GRAM or (np.ndim(factor) == 0 and factor == 1):
        return cov
    return np.asarray(factor)[..., None] * cov


def _gram_rms(cov: Any, epsilon: float) -> Any:
    return _roots(np.diagonal(cov) + epsilon)


def _roots(squares: Any) -> Any:
    if not squares.all():
        raise ZeroDivisionError
    return np.sqrt(squares)


def _gram_times(a: Any, b: Any) -> Any:
    return _NO_GRAM if a is _NO_GRAM or b is _NO_GRAM else a * b


#: token Gram matrices of numbers
GRAM = Algebra(
    _gram_rms,
    _gram_left,
    lambda cov: cov if cov is _NO_GRAM else cov.T,
    _gram_times,
    _same,
    _gram_times,
    _NO_GRAM,
)


def _positions_rms(cov: Any, epsilon: float) -> Any:
    return _roots(cov[:, -1] + epsilon)


def _positions_transpose(cov: Any) -> Any:
    return cov if cov is _NO_GRAM else np.column_stack([cov[:, :-1].T, cov[:, -1]])


#: token Grams with positions as a coordinate, (m, m + 1): smooth up to the diagonal, and each token's own
POSITIONS = Algebra(
    _positions_rms, _gram_left, _positions_transpose, _gram_times, _same, _gram_times, _NO_GRAM
)


def norm_of_zero(layer: int) -> AssumptionError:
    """The error of a norm at ``layer`` whose input is zero by the numbers there."""
    return AssumptionError(
        f"a norm at layer {layer} reads what is always zero there (perhaps that of queries, keys or values); "
        "give what stands in front of it gains and factors that are not zero"
    )


class Moments:
    """Covariances between any two values of ``trace``.

    Args:
        trace: a block, a readout, or an adjoint.
        streams: cov of the incoming streams i, j.
        transfer: the branch's own covariance, given the branch and that of its input.
        coefficient: function from a multiplier in (l, L, d) to a factor of the algebra.
    """

    def __init__(
        self,
        trace: Trace,
        algebra: Algebra,
        streams: Callable[[int, int], Any],
        transfer: Callable[[Branch, Any], Any],
        coefficient: Callable[[Expr], Any] = _same,
    ) -> None:
        self.trace = trace
        self.algebra = algebra
        self._streams = streams
        self._transfer = transfer
        self.coefficient = coefficient
        self._cache: dict[tuple[int, int], Any] = {}

    def cov(self, v: Value, w: Value) -> Any:
        """Covariance of ``v`` (first index) and ``w`` (second)."""
        key = v.index, w.index
        if key not in self._cache:
            self._cache[key] = self._compute(v, w)
        return self._cache[key]

    def norm_factor(self, norm: Norm) -> Any:
        """The number, or one for each token, by which a norm multiplies its source: g / sqrt(q + epsilon)."""
        source = norm.source
        size = self.algebra.rms(self.cov(source, source), self.coefficient(norm.epsilon))
        if np.ndim(size) == 0 and size == 0:
            raise InputError(f"the definition norms {source}, which is always zero")
        return self.coefficient(norm.gain) / size

    def _compute(self, v: Value, w: Value) -> Any:
        algebra = self.algebra
        if v.index < w.index:
            return algebra.transpose(self.cov(w, v))
        if isinstance(v, Norm):
            return algebra.left(self.norm_factor(v), self.cov(v.source, w))
        if isinstance(v, Sum):
            total = algebra.zero
            for factor, value in v.terms:
                part = algebra.left(self.coefficient(factor), self.cov(value, w))
                if part is not algebra.zero:
                    total = part if total is algebra.zero else total + part
            return total
        if isinstance(v, Branch):
            return self._transfer(v, self.cov(v.source, v.source)) if v is w else algebra.zero
        if isinstance(v, Product):
            own = (self.cov(x, x) for x in v.sources)
            return algebra.product(*own) if v is w else algebra.zero
        if isinstance(v, Modulated):
            return algebra.modulated(v.by, self.cov(v.source, v.source)) if v is w else algebra.zero
        assert isinstance(v, Stream)
        assert isinstance(w, Stream)
        return self._streams(v.position, w.position)

    def path(self, v: Value, stream: Stream) -> Any:
        """Gain from ``stream`` to ``v`` along skips and norms alone, no branch."""
        if isinstance(v, Norm):
            return self.path(v.source, stream) * self.norm_factor(v)
        if isinstance(v, Sum):
            return sum(self.coefficient(factor) * self.path(value, stream) for factor, value in v.terms)
        return 1 if v is stream else 0

    def outputs(self, firsts: Sequence[int] | None = None) -> list[list[Any]]:
        """Covariances of the outgoing streams; ``firsts`` says for each which one it is a copy of."""
        outputs = self.trace.outputs if firsts is None else [self.trace.outputs[first] for first in firsts]
        return [[self.cov(a, b) for b in outputs] for a in outputs]
