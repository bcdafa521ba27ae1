"""Claims of residual streams of 2025 and 2026: copies of a stream, gates, and attention over depth."""

from __future__ import annotations

from math import sqrt

import numpy as np
from scipy.special import digamma
from sympy import Rational, simplify

from ...base import symbols
from ...base.formulas import IDENTITY
from ...moments.reductions import EVERY, reduces_to
from ..fact import Fact, recursion

#: designs of four streams
COPIES = ("hyper-connections", "mhc", "identity-hyper-connections")

#: the stream that a sublayer reads, of four
PICKED = (1, 0, 0, 0)

#: standard deviation of a gate's logit: of weights, in the library, times the root of 4 d, at d = 7168
LIBRARY = 0.02 * sqrt(4 * 7168)


def equal_streams() -> Fact:
    """Every design of equal streams is PreNorm, step by step (T3.5)."""
    found = {name: [(r.placement, r.blocks) for r in reduces_to(name)] for name in COPIES}
    same = all(each == [("pre-norm", EVERY)] for each in found.values())
    return Fact(same, f"{', '.join(COPIES)}: PreNorm in {EVERY}, all streams equal")


def depth_attention() -> Fact:
    """The mean over all earlier outputs has the second moment of their sum, PreNorm's, over their number
    squared (T3.7)."""
    l, s = symbols.layer, symbols.sigma_a2 + symbols.sigma_f2
    q = (symbols.initial_variance + l * s) / (2 * l + 1) ** 2
    block = recursion("attention-residuals").block
    left = block.forward[0, 0].subs(block.moment(0, 0), q) - q.subs(l, l + 1)
    unit = simplify(q.subs({symbols.sigma_a2: 1, symbols.sigma_f2: 1, symbols.initial_variance: 1}))
    holds = simplify(left) == 0 and simplify(unit - 1 / (2 * l + 1)) == 0
    return Fact(holds, f"q = {q}, which is {unit} for unit branches", {"of PreNorm's, 8 blocks": 1 / 289})


def residual_gate() -> Fact:
    """q stays 1, and the share of the stream that is the embedding is (3/4)^L (T3.8)."""
    closed = recursion("residual-gate").closed_form()
    block = recursion("residual-gate").block
    q = block.forward[0, 0].subs(block.moment(0, 0), 1)
    forgets = simplify(closed[IDENTITY] - Rational(3, 4) ** symbols.depth) == 0
    text = f"q' = {simplify(q)} of q = 1, identity gain {closed[IDENTITY]}"
    return Fact(forgets and simplify(q) == 1, text)


def library_start() -> Fact:
    """What a sublayer adds to the mean of four streams, over what it adds in PreNorm: E of the squared mean
    of the gates behind the branch (T3.6)."""
    added = 1 + gate_variance(LIBRARY) / 4
    paper = 1 + gate_variance(0.01 * LIBRARY) / 4
    text = f"each sublayer adds {added:.3f} times as much as in PreNorm; with the paper's factor {paper:.5f}"
    return Fact(added > 1.1 and paper < 1.01, text, {"added": added})


def random_mixing() -> Fact:
    """Growth of four streams that independent normal matrices of unit entries mix, 64 times over: the
    largest exponent of such a product, (ln 2 + psi(n/2))/2 a factor (Newman, 1986), against a doubly
    stochastic one, whose largest singular value is 1."""
    n, layers = 4, 64
    growth = layers * (np.log(2) + digamma(n / 2)) / 2 / np.log(10)
    return Fact(15 < growth < 17, f"10^{growth:.1f} for {layers} random mixings of {n} streams; 1 for mHC's")


def biased_gates() -> Fact:
    """DepthBench's start of mHC: logits of 8 for the stream that a sublayer reads and -8 for the others, 0
    behind the branch, 0 on the mixing matrix' diagonal and -8 beside it."""
    n, bias = len(PICKED), 8.0
    gates = 1 / (1 + np.exp(-bias * (2 * np.array(PICKED) - 1)))
    mixing = np.exp(-bias * (1 - np.eye(n)))
    mixing /= mixing.sum(1, keepdims=True)  # columns sum to one, too: Sinkhorn's steps change nothing
    behind = 2 / (1 + np.exp(0.0))
    others = 1 - gates[0] / gates.sum()
    same = np.allclose(mixing.sum(0), 1) and np.allclose(mixing.sum(1), 1) and behind == 1
    start = [str(each) for each in reduces_to("hyper-connections")]
    text = f"a branch reads {others:.1%} of other streams, {1 - mixing[0, 0]:.2%} of a stream is mixed"
    return Fact(bool(same and others < 0.01), f"{text}; hyper-connections: {', '.join(start)}")


def gate_variance(std: float) -> float:
    """Variance of 2 sigmoid(z), z normal with standard deviation ``std``."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    squares = (2 / (1 + np.exp(-std * nodes)) - 1) ** 2
    return float(weights @ squares / weights.sum())
