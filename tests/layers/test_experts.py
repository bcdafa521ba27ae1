"""Routing overlaps and moments of experts, against sampling, closed forms and limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import rounded
from scipy.special import expit

from spannorm_theory.base.errors import AssumptionError
from spannorm_theory.gaussian.activations import ACTIVATIONS
from spannorm_theory.layers.experts import MixtureOfExperts
from spannorm_theory.layers.feedforward import FeedForward
from spannorm_theory.layers.shared_experts import SharedExperts
from spannorm_theory.softmax.gates import Gates
from spannorm_theory.softmax.top_k import GateStatistics
from spannorm_theory.softmax.top_k_table import AT_UNIT, gate_table

GAINS = {"ffn.up": 1.3, "ffn.gate": 0.8, "ffn.down": 0.7, "ffn.router": 1.0, "ffn.shared_gate": 1.6}
CASES = [
    (Gates(8, 2), 1.0),
    (Gates(8, 1, "softmax"), 1.0),
    (Gates(4, 3, "softmax"), 4.0),
    (Gates(16, 4), 0.3),
    (Gates(16, 4, "sigmoid"), 2.0),
    (Gates(4, 3, "sigmoid"), 9.0),
    (Gates(16, 4, "sigmoid", 4, 2), 1.0),
    (Gates(16, 3, "softmax", 8, 3), 2.0),
]


def branch(experts: int, top_k: int, kind: str = "renormalised", **changes: Any) -> MixtureOfExperts:
    activation = ACTIVATIONS[changes.pop("activation", "gelu")]
    options = {"unit_logits": 1.0} | changes
    return MixtureOfExperts(activation, 64, 256, gates=Gates(experts, top_k, kind), **options)


def distance(rho: Any) -> Any:
    return np.sqrt((1 - np.asarray(rho)) / 2)


@pytest.mark.statistical
@pytest.mark.parametrize(("gates", "v"), CASES, ids=str)
@pytest.mark.parametrize("rho", [0.0, 0.6, 0.98])
def test_overlaps_against_sampled_pairs(gates: Gates, v: float, rho: float) -> None:
    samples, random = 60_000, np.random.default_rng(1)
    x, y = random.standard_normal((2, samples, gates.experts))
    first = gates(np.sqrt(v) * x)
    second = gates(np.sqrt(v) * (rho * x + np.sqrt(1 - rho**2) * y))
    eye = np.eye(gates.experts)
    jacobians = [
        one.gates[:, :, None]
        * (eye - one.weights[:, None, :])
        * np.broadcast_to(one.slopes, x.shape)[:, None, :]
        for one in (first, second)
    ]
    (g, _, chosen, _), (h, _, also, _) = first, second
    sampled = {
        "own": (g**2).sum(1),
        "gap": ((g - h) ** 2).sum(1) / 2,
        "router": (jacobians[0] * jacobians[1]).sum((1, 2)),
        "common": (chosen * also).sum(1) / gates.top_k,
    }
    table = gate_table(gates, v)
    at = table.at(v, distance(rho))
    found = {"own": at.own, "gap": at.gap, "router": at.router, "common": at.common}
    scale = {"own": 1.0, "gap": at.gap, "router": at.alone, "common": 1.0}
    for name, values in sampled.items():
        error = np.hypot(values.std() / np.sqrt(samples), table.unit.errors[name] * scale[name])
        assert abs(found[name] - values.mean()) < 5 * error, name
        assert error < 0.03 * scale[name], name


@pytest.mark.exact
@pytest.mark.parametrize("kind", ["sigmoid", "softmax"])
def test_a_choice_of_groups_against_one_by_hand(kind: str) -> None:
    logits = np.random.default_rng(0).standard_normal((50, 2, 12))
    found = Gates(12, 4, kind, 4, 2)(logits)
    for z, g, chosen in zip(*(x.reshape(100, 12) for x in (logits, found.gates, found.chosen)), strict=True):
        scores = expit(z) if kind == "sigmoid" else np.exp(z)
        sizes = [sum(sorted(scores[3 * i : 3 * i + 3])[-2 if kind == "sigmoid" else -1 :]) for i in range(4)]
        allowed = [e for i in np.argsort(sizes)[-2:] for e in range(3 * i, 3 * i + 3)]
        best = sorted(allowed, key=lambda e: -z[e])[:4]
        assert set(np.flatnonzero(chosen)) == set(best)
        total = scores[best].sum() if kind == "sigmoid" else scores.sum()
        assert g[best] == rounded(scores[best] / total)
        assert g.sum() == rounded(scores[best].sum() / total)


@pytest.mark.reference
def test_the_root_of_groups_is_sampled_where_it_is_known_without() -> None:
    for gates, v in ((Gates(8, 2), 1.0), (Gates(64, 8, "sigmoid"), 4.0)):
        statistics = gate_table(gates, v).unit
        assert statistics._slope_near_one(v) == pytest.approx(statistics.values[0, 0], rel=0.03)


@pytest.mark.reference
@pytest.mark.parametrize(
    ("experts", "top_k", "coefficient"), [(2, 1, 0.45), (8, 1, 1.13), (8, 2, 0.91), (64, 8, 1.286)]
)
def test_coefficient_of_the_square_root(experts: int, top_k: int, coefficient: float) -> None:
    """1 - O/A ~ c sqrt(1 - rho) for equal gates; with 64 experts swaps add up singly only below 1 - rho =
    1e-5, and 1.19 is what one finds at 1e-3."""
    table = gate_table(Gates(experts, top_k), 1e-6)
    at = table.at(1e-6, distance(1 - np.array([1e-14, 1e-3])))
    assert at.own == pytest.approx(1 / top_k, rel=1e-4)
    c = at.gap[0] * top_k / 1e-7
    assert c == pytest.approx(coefficient, abs=0.008)
    if experts == 64:
        assert (1 - at.common[1]) / 1e-3**0.5 == pytest.approx(1.19, abs=0.05)


@pytest.mark.exact
@pytest.mark.parametrize(("gates", "v"), [CASES[3], CASES[6]], ids=str)
def test_an_epsilon_under_a_norm_needs_no_further_tables(gates: Gates, v: float) -> None:
    """The overlaps of an input of second moment 1 stand for those around it; samples of the same points say
    by how little they are off."""
    table, around = gate_table(gates, v), v * (1 - 0.9 * AT_UNIT)
    at, exact = table.at(around, distance(0.3)), GateStatistics(gates, around)
    assert list(table._splines) == [np.inf]
    assert at.own == pytest.approx(exact.own, rel=AT_UNIT)
    off = abs(exact.values - table.unit.values).max(axis=0)[:3]  # of (A - O)/t, R and C
    assert (off < AT_UNIT * np.array([exact.own, exact.alone, 1.0])).all()


@pytest.mark.exact
def test_two_experts_agree_on_the_angle() -> None:
    rho = np.array([-0.5, -0.3, 0.0, 0.5, 0.9, 0.999, 1.0])
    at = gate_table(Gates(2, 1), 1.0).at(1.0, distance(rho))
    assert at.common == pytest.approx(1 - np.arccos(rho) / np.pi, abs=1e-6)  # what the table is right to
    assert at.router == pytest.approx(0, abs=1e-15)


@pytest.mark.exact
def test_limits() -> None:
    for gates, v in CASES:
        table = gate_table(gates, v)
        same, apart = table.at(v, 0.0), table.at(v, distance(0.0))
        assert same.gap == 0
        assert same.common == rounded(1)
        assert abs(apart.common - gates.top_k / gates.experts) < 5 * table.unit.errors["common"]
    # gates of logits of size 1e-3 are equal up to the square of that; the table is sampled
    flat = gate_table(Gates(8, 2), 1e-6).at(1e-6, distance(np.array([0.0, 1.0])))
    assert abs(flat.own[0] - flat.gap[0] - 1 / 8) < 5 * gate_table(Gates(8, 2), 1e-6).unit.errors["gap"]
    assert flat.router[1] == pytest.approx(1 / 4, rel=2e-6)  # (k - 1)/k^2
    t = np.append(np.linspace(0, 1, 7), 1e-6)
    mixed, everyone = (gate_table(Gates(4, 4, kind), 2.0).at(2.0, t) for kind in ("renormalised", "softmax"))
    assert mixed.own == pytest.approx(everyone.own, rel=1e-14)
    assert mixed.gap == pytest.approx(everyone.gap, abs=1e-12)
    assert mixed.gap[-1] < 1e-11  # nothing to choose: no square root


@pytest.mark.exact
@pytest.mark.parametrize("activation", ["gelu", "swiglu"])
def test_all_experts_with_equal_gates_are_a_dense_branch_over_their_number(activation: str) -> None:
    """Up to the square of logits of size 1e-3."""
    dense = FeedForward(ACTIVATIONS[activation], 64, 256)
    experts = branch(4, 4, activation=activation)
    gains = GAINS | {"ffn.router": 1e-6}
    assert experts.forward(1.3, 0.4, gains) == pytest.approx(
        np.array(dense.forward(1.3, 0.4, gains)) / 4, rel=1e-5
    )
    assert experts.gain(1.3, 1.3, 0.9, gains) == pytest.approx(dense.gain(1.3, 1.3, 0.9, gains) / 4, rel=1e-5)
    q, delta, grad = np.array([1.3]), np.array([0.4]), np.array([[2.0, 0.5]])
    ours = experts.weight_grads(experts.at(q, delta, gains), grad, 16)
    for name, value in dense.weight_grads(dense.at(q, delta, gains), grad, 16).items():
        assert ours[name] == pytest.approx(value / 4, rel=1e-5)


@pytest.mark.exact
def test_shared_experts_add_their_own_branch() -> None:
    dense, q, delta = FeedForward(ACTIVATIONS["gelu"], 64, 256), 1.0, 0.3
    alone, more = branch(8, 2), branch(8, 2, shared=SharedExperts(3))
    expected = np.array(alone.forward(q, delta, GAINS)) + 3 * np.array(dense.forward(q, delta, GAINS))
    assert more.forward(q, delta, GAINS) == rounded(expected)
    difference = more.gain(q, q, 0.7, GAINS) - alone.gain(q, q, 0.7, GAINS)
    assert difference == rounded(3 * dense.gain(q, q, 0.7, GAINS))


@pytest.mark.exact
def test_the_gate_of_shared_experts_is_a_kernel_beside_theirs() -> None:
    """E of the product of two tokens' sigmoids, by quadrature; slopes by differences."""
    dense, q, p, h = FeedForward(ACTIVATIONS["gelu"], 64, 256), 1.3, 0.5, 1e-5
    alone, more = branch(8, 2), branch(8, 2, shared=SharedExperts(2, gated=True))
    z, w = np.polynomial.hermite_e.hermegauss(80)
    w, s = w / w.sum(), GAINS["ffn.shared_gate"]

    def added(c: float) -> float:
        u = np.sqrt(s * q) * z[:, None]
        v = c / q * u + np.sqrt(s * (q - c * c / q)) * z
        return float(2 * dense.output(q, q, c, GAINS) * (w @ (expit(u) * expit(v)) @ w))

    difference = more.output(q, q, p, GAINS) - alone.output(q, q, p, GAINS)
    assert difference == pytest.approx(added(p), rel=1e-9)
    one, drop = np.array(more.forward(q, q - p, GAINS)) - alone.forward(q, q - p, GAINS)
    assert (one, one - drop) == pytest.approx((added(q), added(p)), rel=1e-9)
    slope = (added(p + h) - added(p - h)) / (2 * h)
    assert more.gain(q, q, p, GAINS) - alone.gain(q, q, p, GAINS) == pytest.approx(slope, rel=1e-7)
    at = [one.at(np.array([q]), np.array([q - p]), GAINS) for one in (more, alone)]
    assert at[0].back[1] - at[1].back[1] == pytest.approx(slope, rel=1e-7)
    responses = [one.response(x, np.ones(1)) for one, x in zip((more, alone), at, strict=True)]
    assert responses[0] - responses[1] == pytest.approx(slope, rel=1e-7)


@pytest.mark.exact
def test_a_factor_of_the_chosen_experts_is_its_square_in_every_moment() -> None:
    one, other, q, delta = branch(8, 2), branch(8, 2, factor=2.5), np.array([1.2]), np.array([0.3])
    square = 2.5**2
    assert other.forward(1.2, 0.3, GAINS) == rounded(square * np.array(one.forward(1.2, 0.3, GAINS)))
    assert other.gain(1.2, 1.2, 0.9, GAINS) == rounded(square * one.gain(1.2, 1.2, 0.9, GAINS))
    at, grad = [x.at(q, delta, GAINS) for x in (one, other)], np.array([[2.0, 0.5]])
    for name, value in one.weight_grads(at[0], grad, 16).items():
        assert other.weight_grads(at[1], grad, 16)[name] == rounded(square * value)
    assert other.scatter(at[1], 0 * q) == rounded(square**2 * one.scatter(at[0], 0 * q))


@pytest.mark.exact
def test_drop_keeps_its_digits_when_tokens_collapse() -> None:
    experts = branch(8, 2)
    k = FeedForward(ACTIVATIONS["gelu"], 64, 256).forward(1, 0, GAINS)[0]
    slope = float(gate_table(Gates(8, 2), 1.0).at(1.0, 1e-12).gap) / 1e-12
    # the dense drop is of order delta, which is the root of delta times that of routing
    for delta in (1e-6, 1e-9, 1e-12, 1e-20):
        q, drop = experts.forward(1.0, delta, GAINS)
        assert drop == pytest.approx(k * slope * np.sqrt(delta / 2), rel=5 * np.sqrt(delta) + 1e-12, abs=0)
    q, drop = experts.forward(1.0, 0.4, GAINS)
    assert drop == pytest.approx(q - experts.output(1.0, 1.0, 0.6, GAINS), rel=1e-12)


@pytest.mark.exact
def test_response_and_bend_are_derivatives_of_the_covariance() -> None:
    """Against differences, of relative step h: right to h^2."""
    experts, q, h = branch(8, 1, "softmax"), np.array([1.0]), 1e-3
    table = gate_table(Gates(8, 1, "softmax"), 1.0)
    for delta in (0.9, 0.2, 0.02):
        step = h * delta
        low, high = (experts.output(1.0, 1.0, 1 - delta + s, GAINS) for s in (-step, step))
        response = experts.response(experts.at(q, np.array([delta]), GAINS), np.array([delta]))
        assert response == pytest.approx((high - low) / (2 * step), rel=5 * h**2)
        gaps = [table.forward(1.0, np.sqrt(x / 2), 0.0)[1] for x in (delta - step, delta, delta + step)]
        second = (gaps[0] - 2 * gaps[1] + gaps[2]) / step**2
        unlike = table.forward(1.0, np.sqrt(delta / 2), 0.5)[1]
        assert 4 * (unlike - gaps[1]) == pytest.approx(delta**2 * second, rel=5 * h**2, abs=1e-7)


@pytest.mark.statistical
@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_scatter_and_loads_against_sampled_sequences(rho: float) -> None:
    tokens, sequences, random = 16, 3000, np.random.default_rng(2)
    experts = branch(8, 2)
    common = random.standard_normal((sequences, 1, 8))
    z = np.sqrt(rho) * common + np.sqrt(1 - rho) * random.standard_normal((sequences, tokens, 8))
    g, _, chosen, _ = Gates(8, 2)(z)
    s = g @ g.mT
    # residual of pairs around what either token explains, from disjoint quadruples
    a, b, c, d = (s[:, i::4, j::4] for i, j in ((0, 1), (0, 2), (3, 1), (3, 2)))
    rest = np.diagonal(a - b - c + d, axis1=1, axis2=2) ** 2 / 4
    per_sequence = rest.mean(axis=1)
    q, delta = np.array([1.0]), np.array([1 - rho])
    k = FeedForward(ACTIVATIONS["gelu"], 64, 256).output(1.0, 1.0, rho, GAINS)
    at = experts.at(q, delta, GAINS)
    scatter = float(experts.scatter(at, np.zeros(1))[0]) / k**2
    assert scatter == pytest.approx(per_sequence.mean(), rel=0.08)
    loads = chosen.sum(axis=1)
    imbalance = loads.var(axis=1) / loads.mean(axis=1) ** 2
    error = imbalance.std() / np.sqrt(sequences)
    predicted = float(experts.load_imbalance(at, tokens)[0])
    assert abs(predicted - imbalance.mean()) < 4 * error + 4 * 0.003
    gram = (1 - rho) * np.eye(tokens) + rho
    sizes = np.ones((tokens, 1)), np.ones((1, tokens))
    assert experts.commonness(*sizes, gram, GAINS).mean() - 1 == rounded(predicted)


@pytest.mark.reference
def test_other_logit_variances_are_interpolated() -> None:
    plain, exact = branch(4, 2), branch(4, 2, unit_logits=2.3)
    gains, t = GAINS | {"ffn.router": 2.3}, np.linspace(0.01, 0.7, 6)
    rho = 1 - 2 * t**2
    for q in (1.0, np.ones(6)):
        assert plain.output(q, q, rho, gains) == pytest.approx(exact.output(q, q, rho, gains), rel=1e-3)
        assert plain.gain(q, q, rho, gains) == pytest.approx(exact.gain(q, q, rho, gains), rel=1e-3)
    q = np.linspace(0.5, 2, 6)
    each = [plain.gain(u, u, u * r, GAINS) for u, r in zip(q, rho, strict=True)]
    assert plain.gain(q, q, q * rho, GAINS) == rounded(each)


@pytest.mark.exact
@pytest.mark.parametrize("v", [1.0, 1e-7, 0.3, 2.3, 7.0, 1e6])
@pytest.mark.parametrize("t", [0.0, 1e-12, 0.04, 0.5, 1.0])
def test_one_point_is_one_of_an_array(v: float, t: float) -> None:
    """The layer loop's polynomials against those of arrays: alone, and beside other logit variances."""
    table = gate_table(Gates(8, 2), 1.0)
    beside = table.at(np.array([v, 1.0, 40.0]), np.full(3, t))
    alone = table.at(v, np.array([t]))
    found = table.forward(v, t, 0.0)
    assert found == pytest.approx((beside.own[0], beside.gap[0]), rel=1e-12, abs=1e-25)
    assert found == pytest.approx((alone.own[0], alone.gap[0]), rel=1e-12, abs=1e-25)
    for name in ("router", "common", "scatter", "gap_slope"):
        assert getattr(alone, name)[0] == pytest.approx(getattr(beside, name)[0], rel=1e-11, abs=1e-20)


@pytest.mark.exact
def test_grams_of_like_tokens_agree_with_pairs() -> None:
    n, q, rho, experts = 6, 1.4, 0.3, branch(8, 2, shared=SharedExperts(1, gated=True), factor=1.5)
    gram, grad = (x * ((1 - r) * np.eye(n) + r) for x, r in ((q, rho), (2.0, 0.25)))
    pairs = np.full((n, 1), q), np.full((1, n), q)
    at = experts.at(np.array([q]), np.array([q * (1 - rho)]), GAINS)
    pair = experts.weight_grads(at, np.array([[2.0, 0.5]]), n)
    for name, value in experts.weight_grads_gram(*pairs, gram, grad, GAINS).items():
        assert pair[name] == rounded(value)


def test_tokens_of_different_size_are_refused() -> None:
    with pytest.raises(AssumptionError, match=r"differ by 1\.6 times between positions"):
        branch(8, 2).output(1.0, 1.6, 0.3, GAINS)
