"""Iterate a recurrence with constant branch gains to any depth.

Gradients are linear in the gradient that comes in, so their exponent is carried apart. So is that of
the streams where the step scales with them (no norm anywhere); elsewhere streams stay in range.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import exp, log
from typing import Any

import numpy as np
import pandas as pd
from sympy import Expr, lambdify

from ..base import symbols
from ..base.errors import InputError
from ..moments.one_token import Step, numeric_moments, tidy
from .recurrence import Recurrence

Numbers = list[float]
_GAINS = (symbols.sigma_a2, symbols.sigma_f2, symbols.omega_a2, symbols.omega_f2)


class Compiled:
    """Numeric forward, backward and identity maps of one step at given gains and depth."""

    def __init__(self, step: Step, gains: Mapping[Expr, float], depth: int) -> None:
        states = [symbols.stream_moment(symbols.variance, *p, len(step.trace.streams)) for p in step.pairs]
        fixed = {**gains, symbols.depth: float(depth), symbols.width: 1.0}
        names = [*states, symbols.layer, *fixed]
        values = list(fixed.values())

        def compile_(expressions: list[Expr]) -> Callable[..., Numbers]:
            function = lambdify(names, expressions, modules=[numeric_moments(), "math"], cse=True)
            return lambda state, l: function(*state, l, *values)

        self.forward = compile_(list(step.forward.values()))
        self.backward = compile_(list(step.backward_matrix))
        self.identity = compile_(step.identity)
        self.shape = step.backward_matrix.shape


def scales_with_streams(step: Step) -> bool:
    """Whether the step is homogeneous: q -> t q gives t q' and the same gradients."""
    states = {s for s in (step.moment(*p) for p in step.pairs) if s.is_Symbol}
    if len(states) < len(step.pairs):
        return False
    scaled = {s: symbols.factor * s for s in states}
    return all(
        tidy(f.subs(scaled, simultaneous=True) - symbols.factor * f) == 0 for f in step.forward.values()
    ) and all(tidy(m.subs(scaled, simultaneous=True) - m) == 0 for m in step.backward_matrix)


def iterate(
    recurrence: Recurrence, depth: int, gains: Mapping[str, float], q0: float, gamma_out: float
) -> pd.DataFrame:
    """See :meth:`spannorm_theory.render.recursion.Recursion.iterate`."""
    if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
        raise InputError(f"depth must be an integer of at least 1, got {depth!r}")
    for name, value in {**gains, "q0": q0, "gamma_out": gamma_out}.items():
        if not (value > 0 or (value == 0 and name in gains)) or value == float("inf"):
            raise InputError(f"{name} must be a positive number, got {value!r}")
    values = dict(zip(_GAINS, gains.values(), strict=True))
    steps = recurrence.steps(depth)
    known = {step: Compiled(step, values, depth) for step in dict.fromkeys(steps)}
    blocks = [known[step] for step in steps]
    rescale = all(scales_with_streams(step) for step in known)
    pairs = recurrence.block.pairs
    state, shift = [q0] * len(pairs), 0.0
    states, shifts, identity = [], [], []
    for l, compiled in enumerate(blocks):
        states.append(state)
        shifts.append(shift)
        identity.append([log(g) for g in compiled.identity(state, l)])
        state = compiled.forward(state, l)
        if rescale:
            shift += log(state[0])
            state = [x / state[0] for x in state]
    states.append(state)
    shifts.append(shift)
    gradients, exponents = _gradients(recurrence, blocks, states, shift, gamma_out)
    from_layer = np.cumsum(np.array(identity)[::-1], axis=0)[::-1]
    rows: list[tuple[Any, ...]] = []
    for at, (i, j) in enumerate(pairs):
        name = str(i) if i == j else f"{i}{j}"
        for l in range(depth + 1):
            q, g = states[l][at], gradients[l][at]
            rows.append((l, name, "variance", log(q) + shifts[l]))
            rows.append((l, name, "grad_variance", log(g) + exponents[l] if g > 0 else -np.inf))
            if i == j:
                rows.append((l, name, "identity_gain", float(from_layer[l, i]) if l < depth else 0.0))
    table = pd.DataFrame(rows, columns=["layer", "stream", "quantity", "log_value"])
    with np.errstate(over="ignore", under="ignore"):
        table.insert(3, "value", np.exp(table["log_value"]))
    order = ["quantity", "stream", "layer"]
    return table.sort_values(order, ignore_index=True)


def _gradients(
    recurrence: Recurrence,
    blocks: list[Compiled],
    states: list[Numbers],
    shift: float,
    gamma_out: float,
) -> tuple[list[Numbers], list[float]]:
    """Gradient moments at every boundary: mantissas and natural exponents."""
    readout = recurrence.readout
    last = [x * exp(min(shift, 600.0)) for x in states[-1]]
    moments = [readout.moment(*p) for p in recurrence.block.pairs]
    compiled = lambdify(moments, list(readout.backward_matrix[:, 0]), modules=[numeric_moments(), "math"])
    gradient, exponent = np.array(compiled(*last), dtype=float) * gamma_out, 0.0
    found, exponents = [list(gradient)], [exponent]
    for l in range(len(states) - 2, -1, -1):
        compiled = blocks[l]
        matrix = np.array(compiled.backward(states[l], l)).reshape(compiled.shape)
        gradient = matrix @ gradient
        size = float(np.abs(gradient).max())
        gradient, exponent = gradient / size, exponent + log(size)
        found.append(list(gradient))
        exponents.append(exponent)
    return found[::-1], exponents[::-1]
