"""Constant gains of an architecture's branches: the numbers that laws are evaluated at.

A law holds for constant gains; those of attention depend on how aligned the tokens are. Two ends:

    aligned       rho = r = 1: every token the same. Attention passes its value path on unchanged,
                  sigma_a^2 = omega_a^2 = 1 for matrices of gain 1. Where tokens align with depth this is
                  where a deep stack ends, and what the atlas calls a law's numbers.
    independent   rho = r = 0: attention averages n unrelated tokens.

The gains are those for an input of second moment 1, unless another is given. Scaling rules enter through the
law, which takes a hidden layer of 4d where a rule states a standard deviation: gains make up for another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from ..base.errors import AssumptionError
from ..gaussian.closed_forms import Array
from ..layers.attention import Attention
from ..moments.branches import branch_moments
from ..moments.constant_gains import Gains
from ..moments.one_token import rule_gain, scale_free
from ..moments.schedule import branch_gains, relative_gain
from ..spec.architecture import Architecture
from ..spec.expressions import over_layers
from ..spec.graph import SUBLAYERS

#: a second moment of one at the input of every branch
ONES: Mapping[str, float] = MappingProxyType({})


def ends(arch: Architecture, sizes: Mapping[str, float] = ONES) -> tuple[Gains, Gains]:
    """(sigma_a^2, sigma_f^2, omega_a^2, omega_f^2) at aligned and at independent tokens; ``sizes`` are second
    moments of the inputs by kind of branch."""
    sigma: dict[str, tuple[float, float]] = {}
    omega: dict[str, tuple[float, float]] = {}
    for branch in arch.block(arch.depth - 1).branches:
        if branch.kind not in SUBLAYERS:
            continue
        plain, last = replace(branch, gains={}, std={}), np.array([arch.depth - 1.0])
        ratio = _ratio(relative_gain(branch, arch, last), over_layers(rule_gain(branch), arch, last))
        moments, gains = branch_moments(plain, arch), branch_gains(plain, arch, np.zeros(1))
        one = {name: float(g[0]) for name, g in gains.items()}
        u = sizes.get(branch.kind) or 1.0  # zeros have no gain: as at size one
        degree = 1.0 if scale_free(branch) else u  # of what the law takes the branch to put out
        if isinstance(moments, Attention):
            own = ratio / degree
            sigma["a"] = own * moments.forward(u, 0.0, one)[0], own * moments.forward(u, u, one)[0]
            at = moments.at(np.full(2, u), np.array([0.0, u]), gains)
            maps = moments.backward(at, 1 / moments.width)["stream"] * u / degree
            omega["a"] = ratio * float(maps[0, 0, 0] + maps[0, 0, 1]), ratio * float(maps[1, 0, 0])
        else:
            sigma["f"] = (ratio * moments.forward(u, 0.0, one)[0] / degree,) * 2
            omega["f"] = (ratio * float(moments.gain(u, u, u, one)) * u / degree,) * 2
    aligned, independent = ((sigma["a"][i], sigma["f"][i], omega["a"][i], omega["f"][i]) for i in (0, 1))
    return aligned, independent


def require_degree(arch: Architecture) -> None:
    """Refuse fields under which attention puts out the same for inputs of any size, where the law takes it to
    grow with its input.

    Raises:
        AssumptionError: naming them.
    """
    for branch in arch.block(arch.depth - 1).branches:
        if branch.kind != "attention" or scale_free(branch):
            continue
        if arch.latent_keys is not None or "value" in arch.normed(branch):
            raise AssumptionError(
                "the law is that of attention which grows with its input; with qkv_norm or latent_keys it "
                "does not, and this placement feeds it a stream of any size"
            )


def _ratio(actual: Array, stated: Array) -> float:
    """Ratio of a rule's factor in an architecture to that in the law; one where both are zero."""
    return float(actual[0] / stated[0]) if stated[0] else 1.0
