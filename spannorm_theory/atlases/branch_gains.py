"""Constant gains of an architecture's branches: the numbers that laws are evaluated at.

A law holds for constant gains; those of attention depend on how aligned the tokens are. Two ends:

    aligned       rho = r = 1: every token the same. Attention passes its value path on unchanged,
                  sigma_a^2 = omega_a^2 = 1 for matrices of gain 1. Where tokens align with depth this is
                  where a deep stack ends, and what the atlas calls a law's numbers.
    independent   rho = r = 0: attention averages n unrelated tokens.

The feed-forward gains are those for an input of second moment 1. Scaling rules enter through the law.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..layers.attention import Attention
from ..moments.branches import branch_moments
from ..moments.constant_gains import Gains
from ..moments.schedule import branch_gains
from ..spec.architecture import Architecture


def ends(arch: Architecture) -> tuple[Gains, Gains]:
    """(sigma_a^2, sigma_f^2, omega_a^2, omega_f^2) at aligned and at independent tokens."""
    sigma: dict[str, tuple[float, float]] = {}
    omega: dict[str, tuple[float, float]] = {}
    for branch in arch.block(arch.depth - 1).branches:
        if branch.elementwise:
            continue
        plain = replace(branch, gains={})
        moments, gains = branch_moments(plain, arch), branch_gains(plain, arch, np.zeros(1))
        one = {name: float(g[0]) for name, g in gains.items()}
        if isinstance(moments, Attention):
            sigma["a"] = moments.forward(1.0, 0.0, one)[0], moments.forward(1.0, 1.0, one)[0]
            spread = np.full(2, 1 / moments.width)
            maps = moments.backward(np.ones(2), np.array([0.0, 1.0]), spread, gains)["stream"]
            omega["a"] = float(maps[0, 0, 0] + maps[0, 0, 1]), float(maps[1, 0, 0])
        else:
            sigma["f"] = (moments.forward(1.0, 0.0, one)[0],) * 2
            omega["f"] = (float(moments.gain(1.0, 1.0, 1.0, one)),) * 2
    aligned, independent = ((sigma["a"][i], sigma["f"][i], omega["a"][i], omega["f"][i]) for i in (0, 1))
    return aligned, independent
