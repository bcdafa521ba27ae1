"""Rules for learning rates, against the laws of the first step (docs/theory.md, T13.11)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from sympy import Expr, Rational, sympify

from ...first_steps.laws import step_law
from ...first_steps.optimisers import optimiser
from ...first_steps.theory import predicted
from ...spec.architecture import Architecture
from ..fact import Fact, gains

#: widths between which the theory of a small stack is taken
WIDTHS = 128, 512


def width_exponent(rule: str) -> float:
    """The exponent of the width in the rate that moves the output coherently by Theta(1), by the theory of a
    PreNorm stack with sampled heads."""
    logs = []
    for width in WIDTHS:
        arch = Architecture("pre-norm", depth=2, width=width, heads=4, tokens=4)
        found = predicted(arch, optimiser(rule), dict.fromkeys(arch.weights, 1.0)).profiles
        logs.append(found["output", "coherent_change"][0] / 2)
    return float(-(logs[1] - logs[0]) / np.log(WIDTHS[1] / WIDTHS[0]))


def depth_exponents(placement: str, scaling: str, rule: str) -> set[Expr]:
    """Exponents of the depth in that rate, of all matrices of the value path, at aligned tokens."""
    found: Mapping[str, Expr] = step_law(placement, scaling, rule).depth
    return {sympify(x).subs(gains()) for x in found.values()}


def mup_width() -> Fact:
    """Adam's rate falls as 1/d, by the law and by the theory between two widths."""
    law = step_law("pre-norm", "unit", "adam").width
    found = width_exponent("sign")
    return Fact(
        law == -1 and abs(found - float(law)) < 0.05,
        f"rate of order d^({law}); {found:.3f} between widths {WIDTHS[0]} and {WIDTHS[1]}",
    )


def spectral_width() -> Fact:
    """The rate of an orthogonalised step has no power of the width."""
    law = step_law("pre-norm", "unit", "orthogonal").width
    found = width_exponent("orthogonal")
    return Fact(
        law == 0 and abs(found) < 0.05,
        f"rate of order d^({law}); {found:.3f} between widths {WIDTHS[0]} and {WIDTHS[1]}",
    )


def depth_mup_rate() -> Fact:
    """Branches / sqrt(L) take an Adam rate of order 1/sqrt(L)."""
    found = depth_exponents("pre-norm", "depth-mup", "adam")
    return Fact(found == {-Rational(1, 2)}, f"exponents of L: {_listed(found)}")


def completep_rate() -> Fact:
    """Branches x L^(-alpha) take an Adam rate of order L^(alpha - 1), at alpha = 1/2 and 1."""
    powers = {"0.5": -Rational(1, 2), "1.0": Rational(0)}
    found = {a: depth_exponents("pre-norm", f"completep(alpha={a})", "adam") for a in powers}
    words = "; ".join(f"alpha = {a}: {_listed(found[a])}" for a in powers)
    return Fact(all(found[a] == {powers[a]} for a in powers), f"exponents of L, {words}")


def deepnorm_update() -> Fact:
    """DeepNorm's update at a rate that does not know the depth: bounded under SGD, and under Adam?"""
    sgd, adam = (depth_exponents("post-norm", "deepnorm", rule) for rule in ("sgd", "adam"))
    return Fact(
        sgd == {Rational(0)},
        f"exponents of L of the rate, sgd: {_listed(sgd)}; adam: {_listed(adam)}",
        outside=adam == {Rational(0)},
    )


def _listed(exponents: set[Expr]) -> str:
    return ", ".join(sorted(map(str, exponents)))
