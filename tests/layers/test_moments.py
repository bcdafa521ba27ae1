"""Kernels, norms, overlaps and branches against identities, quadrature and sampling."""

from __future__ import annotations

from itertools import product

import mpmath
import numpy as np
import pytest
from helpers import rounded
from scipy.special import ndtr
from sympy import lambdify

from spannorm_theory.base import symbols
from spannorm_theory.base.errors import AssumptionError, InputError
from spannorm_theory.gaussian.activations import ACTIVATIONS, activation
from spannorm_theory.gaussian.closed_forms import ClosedForm, gelu_kernel, relu_kernel
from spannorm_theory.gaussian.head_norm import HeadNorm
from spannorm_theory.gaussian.hermite import HermiteSeries
from spannorm_theory.layers.attention import Attention
from spannorm_theory.layers.feedforward import FeedForward
from spannorm_theory.softmax.overlap_curve import OverlapCurve
from spannorm_theory.softmax.overlaps import head_overlaps, overlaps, saturating_overlaps, sphere_overlaps
from spannorm_theory.softmax.query_bias import query_biases

KERNELS = {name: a.kernel for name, a in ACTIVATIONS.items() if not a.gated}


@pytest.mark.exact
@pytest.mark.parametrize("name", KERNELS)
def test_price_theorem(name: str) -> None:
    """E phi'(u) phi'(v) is the derivative of E phi(u) phi(v) by the covariance."""
    kernel, h = KERNELS[name], 1e-5
    for q1, q2, c in ((1.0, 1.0, 0.3), (0.5, 2.0, -0.4), (3.0, 3.0, 2.5)):
        numeric = (kernel.value(q1, q2, c + h) - kernel.value(q1, q2, c - h)) / (2 * h)
        assert kernel.slope(q1, q2, c) == pytest.approx(numeric, rel=1e-9)


@pytest.mark.reference
def test_published_second_moments() -> None:
    expected = {
        "gelu": (0.425221, 0.455851),
        "relu": (0.5, 0.5),
        "silu": (0.355776, 0.379482),
    }
    for name, (value, slope) in expected.items():
        assert KERNELS[name].value(1.0, 1.0, 1.0) == pytest.approx(value, abs=6e-7)
        assert KERNELS[name].slope(1.0, 1.0, 1.0) == pytest.approx(slope, abs=6e-7)
    table = [KERNELS["silu"].value(1.0, 1.0, r) for r in (0.0, 0.2, 0.5, 0.8, 0.95)]
    assert table == pytest.approx([0.042692, 0.095156, 0.183170, 0.282694, 0.336980], abs=1e-6)


@pytest.mark.reference
def test_closed_form_against_hermite_series() -> None:
    series = HermiteSeries(lambda x: x * ndtr(x), "gelu")
    closed = gelu_kernel()
    for q1, q2, c in ((1.0, 1.0, 1.0), (1.0, 2.0, 0.7), (0.3, 4.0, -0.9)):
        assert series.value(q1, q2, c) == pytest.approx(closed.value(q1, q2, c), abs=1e-12)
        assert series.slope(q1, q2, c) == pytest.approx(closed.slope(q1, q2, c), abs=1e-10)


@pytest.mark.exact
@pytest.mark.parametrize("kernel", [relu_kernel(), gelu_kernel(), KERNELS["silu"]])
def test_drop_keeps_its_digits_when_tokens_collapse(kernel: object) -> None:
    # of smooth functions the next order is delta; at the kink of ReLU its root
    slope = kernel.slope(1.0, 1.0, 1.0)  # type: ignore[attr-defined]
    for delta in (1e-4, 1e-8, 1e-14):
        top, drop = kernel.drop(1.0, delta)  # type: ignore[attr-defined]
        assert drop == pytest.approx(slope * delta, rel=2 * np.sqrt(delta) + 1e-12, abs=0)
    top, drop = kernel.drop(1.0, 0.5)  # type: ignore[attr-defined]
    assert drop == pytest.approx(top - kernel.value(1.0, 1.0, 0.5), rel=1e-12)  # type: ignore[attr-defined]


@pytest.mark.exact
@pytest.mark.parametrize("name", ["relu", "gelu", "erf"])
def test_drop_of_a_closed_form_against_many_digits(name: str) -> None:
    """At every rule of the integral, and where the difference itself is taken."""
    kernel = ACTIVATIONS[name].kernel
    exact = lambdify(symbols.kernel_arguments[:3], kernel.expression, "mpmath")  # type: ignore[attr-defined]
    with mpmath.workdps(450):
        for q, share in product((0.01, 1.0, 1e3, 1e4, 1e5), (1e-200, 1e-15, 1e-9, 1e-7, 9e-6, 1.1e-5, 0.01)):
            one, delta = mpmath.mpf(q), mpmath.mpf(share * q)
            expected = exact(one, one, one) - exact(one, one, one - delta)
            # a difference from a share of 1e-5 on loses five digits of sixteen
            within = 5e-11 if share > 1e-5 else 2e-14
            assert kernel.drop(q, share * q)[1] == pytest.approx(float(expected), rel=within, abs=0)


@pytest.mark.exact
@pytest.mark.parametrize("q", [0.1, 2.0, 16.0, 300.0])
def test_drop_of_a_series_between_its_knots(q: float) -> None:
    """Against the sum over all terms."""
    kernel = KERNELS["silu"]
    squares = np.square(kernel.coefficients(q))  # type: ignore[attr-defined]
    k = np.arange(len(squares))
    for share in (1e-30, 1e-9, 3e-6, 0.003, 0.1, 0.6, 0.999):
        expected = -(squares @ np.expm1(k * np.log1p(-share)))
        assert kernel.drop(q, share * q)[1] == pytest.approx(expected, rel=2e-12, abs=0)
    for share in (1.0, 1.3, 2.0):  # tokens that point apart
        expected = squares @ (1 - (1 - share) ** k)
        assert kernel.drop(q, share * q)[1] == pytest.approx(expected, rel=2e-12, abs=0)


@pytest.mark.law
def test_gelu_tends_to_relu_for_large_inputs_without_overflow() -> None:
    for q in (1e8, 1e16, 1e40, 1e90):
        within = 1 / np.sqrt(q) + 1e-12
        assert gelu_kernel().value(q, q, q) / q == pytest.approx(0.5, rel=within)
        assert gelu_kernel().slope(q, q, q) == pytest.approx(0.5, rel=within)
        assert gelu_kernel().drop(q, 1e-30 * q)[1] == pytest.approx(0.5e-30 * q, rel=within, abs=0)


@pytest.mark.exact
def test_the_slope_of_gelu_is_the_derivative_of_its_kernel() -> None:
    kernel = gelu_kernel()
    derived = ClosedForm(kernel._value)
    for point in ((0.3, 2.0, 0.1), (1.0, 1.0, -0.7), (5.0, 0.2, 0.9)):
        assert kernel.slope(*point) == pytest.approx(derived.slope(*point), rel=1e-12)


def test_a_jumping_activation_is_refused() -> None:
    with pytest.raises(AssumptionError, match="has not converged"):
        HermiteSeries(np.sign, "sign").value(1.0, 1.0, 0.5)
    with pytest.raises(InputError, match="real numbers of that shape"):
        activation("bad", lambda x: x / 0 * np.nan if x is None else x[:3], lambda x: x)


@pytest.mark.reference
def test_squared_relu_against_integration() -> None:
    """E of the square of one token's, times what is known of the other's: E (m + s z)_+^2."""
    q1, q2, c = 1.3, 0.6, -0.4
    s = np.sqrt(q2 - c * c / q1)
    u = np.linspace(0, 12, 200_001) * np.sqrt(q1)
    m = c / q1 * u
    other = (m * m + s * s) * ndtr(m / s) + m * s * np.exp(-((m / s) ** 2) / 2) / np.sqrt(2 * np.pi)
    density = np.exp(-u * u / 2 / q1) / np.sqrt(2 * np.pi * q1)
    expected = np.trapezoid(u**2 * other * density, u)
    assert KERNELS["relu2"].value(q1, q2, c) == pytest.approx(expected, rel=1e-8)
    assert KERNELS["relu2"].value(2.0, 2.0, 2.0) == rounded(1.5 * 2.0**2)  # half of E u^4


@pytest.mark.exact
@pytest.mark.parametrize("norm", [None, "rms", "layer"])
def test_an_offset_of_up_is_a_second_function(norm: str | None) -> None:
    """Moments of two factors that are independent, and the slope of their product."""
    ffn = FeedForward(ACTIVATIONS["swiglu-oss"], 64, 256, norm)
    gains = {"ffn.up": 0.8, "ffn.gate": 1.3, "ffn.down": 0.7}
    q, delta = 1.4, 0.5
    kernel, p = ACTIVATIONS["quick-gelu"].kernel, q - delta
    raw = [kernel.value(1.3 * q, 1.3 * q, 1.3 * c) * (0.8 * c + 1) for c in (q, p, 0.0)]
    mean = raw[2] if norm == "layer" else 0.0
    size = raw[0] - mean if norm else 1.0
    own, drop = ffn.forward(q, delta, gains)
    assert own == rounded(0.7 * (raw[0] - mean) / size)
    assert own - drop == rounded(0.7 * (raw[1] - mean) / size)
    at = ffn.at(np.array([q]), np.array([delta]), gains)
    assert 0.7 * at.hidden[1][0] == rounded(own - drop)
    h = 1e-6
    slope = (ffn.output(q, q, p + h, gains) - ffn.output(q, q, p - h, gains)) / (2 * h)
    assert at.back[1][0] == pytest.approx(slope, rel=1e-7)
    assert ffn.gain(q, q, p, gains) == pytest.approx(slope, rel=1e-7)


def test_an_offset_needs_a_gate() -> None:
    with pytest.raises(InputError, match="is not gated, and has no up_offset"):
        activation("bad", np.tanh, lambda x: x.tanh(), up_offset=1.0)


@pytest.mark.reference
def test_torch_and_numpy_activations_agree() -> None:
    import torch

    x = np.linspace(-5, 5, 41)
    for entry in ACTIVATIONS.values():
        ours = entry.torch_function(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(ours, entry.function(x), atol=1e-12)


@pytest.mark.reference
def test_slope_of_the_normalised_map_is_the_gain_ratio() -> None:
    """s = omega_f^2 / sigma_f^2 equals the slope of the correlation map at one (Price)."""
    for name, expected in (
        ("relu", 1.0),
        ("reglu", 2.0),
        ("gelu", 1.07203),
        ("geglu", 2.07203),
        ("swiglu", 2.0666),
    ):
        ffn = FeedForward(ACTIVATIONS[name], 64, 256)
        gains = {"ffn.up": 1.0, "ffn.gate": 1.0, "ffn.down": 1.0}
        sigma2, drop = ffn.forward(1.0, 1e-12, gains)
        omega2 = ffn.gain(1.0, 1.0, 1.0, gains)
        assert omega2 / sigma2 == pytest.approx(expected, abs=5e-5)
        assert drop / 1e-12 / sigma2 == pytest.approx(omega2 / sigma2, rel=1e-6)  # relu's kink: the root


class TestHeadNorm:
    @pytest.mark.exact
    def test_gain_of_a_norm_over_few_coordinates(self) -> None:
        assert HeadNorm(32, "rms").slope(1.0) == rounded(31 / 30)
        assert HeadNorm(32, "layer").slope(1.0) == rounded(30 / 29)
        assert HeadNorm(16, "rms").value(1.0) == rounded(1.0)

    @pytest.mark.statistical
    def test_against_sampling(self) -> None:
        rng = np.random.default_rng(0)
        rho, d, n = 0.6, 8, 200_000
        u = rng.normal(size=(n, d))
        v = rho * u + np.sqrt(1 - rho**2) * rng.normal(size=(n, d))
        cosine = (u * v).sum(1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)
        se = cosine.std() / np.sqrt(n)
        assert abs(HeadNorm(d, "rms").value(rho) - cosine.mean()) < 4 * se

    @pytest.mark.reference
    @pytest.mark.parametrize("size", [4, 5, 16, 32, 64, 128])
    def test_drop_of_two_vectors_however_close(self, size: int) -> None:
        norm, apart = HeadNorm(size, "rms"), np.array([1e-200, 1e-17, 1e-7, 9e-6, 1.1e-5, 0.02, 1.0, 1.9])
        with mpmath.workdps(250):
            kernel = [
                x * mpmath.hyp2f1(0.5, 0.5, size / 2 + 1, x**2) for x in (1 - mpmath.mpf(v) for v in apart)
            ]
            largest = mpmath.hyp2f1(0.5, 0.5, size / 2 + 1, 1)
            expected = [float(1 - k / largest) for k in kernel]
        within = 5e-8 if size == 4 else 1e-10
        assert norm.all(apart)[0] == pytest.approx(np.array(expected), rel=within, abs=0)
        assert [norm.drop(float(x)) for x in apart] == pytest.approx(expected, rel=within, abs=0)

    @pytest.mark.reference
    @pytest.mark.parametrize("size", [3, 5, 8, 32, 4096])
    def test_drop_of_the_slope(self, size: int) -> None:
        """Linear in 1 - rho, but for a root of it over few coordinates."""
        apart = np.array([1e-12, 1e-7, 9e-6, 1.1e-5, 1e-3])
        with mpmath.workdps(120):
            half = mpmath.mpf(size) / 2

            def slope(rho: mpmath.mpf) -> mpmath.mpf:
                even, odd = (mpmath.hyp2f1(a, a, half + a + 0.5, rho**2) for a in (0.5, 1.5))
                return (even + rho**2 / (size + 2) * odd) / mpmath.hyp2f1(0.5, 0.5, half + 1, 1)

            expected = [float(slope(mpmath.mpf(1)) - slope(1 - mpmath.mpf(x))) for x in apart]
            slopes = [float(slope(1 - mpmath.mpf(x))) for x in apart]
        found = HeadNorm(size, "rms").all(apart)
        assert found[1] == pytest.approx(np.array(slopes), rel=3e-4 if size == 3 else 1e-9)
        assert found[2] == pytest.approx(np.array(expected), rel=5e-4 if size < 8 else 5e-6, abs=0)

    def test_too_narrow_heads_are_refused(self) -> None:
        with pytest.raises(AssumptionError, match="heads of width 2"):
            HeadNorm(2, "rms")


class TestOverlaps:
    @pytest.mark.statistical
    @pytest.mark.parametrize(("s2", "rho", "n"), [(1.0, 0.5, 16), (4.0, 0.2, 32), (0.3, -0.02, 24)])
    def test_against_sampling(self, s2: float, rho: float, n: int) -> None:
        rng, size = np.random.default_rng(3), 20_000
        shared, x, y = rng.normal(size=(3, size, n))
        a = np.sqrt(s2) * (np.sqrt(abs(rho)) * shared + np.sqrt(1 - abs(rho)) * x)
        b = np.sqrt(s2) * (np.sign(rho) * np.sqrt(abs(rho)) * shared + np.sqrt(1 - abs(rho)) * y)
        A, B = (np.exp(z) / np.exp(z).sum(1, keepdims=True) for z in (a, b))
        p2, p11 = (A * A).sum(1), (A * B).sum(1)
        samples = (p2, p11, p2 - 2 * (A**3).sum(1) + p2**2, p11 - 2 * (A * A * B).sum(1) + p11**2)
        found = overlaps(s2, rho, n)
        for value, sample in zip((found.p2, found.p11, found.j, found.j11), samples, strict=True):
            assert abs(value - sample.mean()) < 4.5 * sample.std() / np.sqrt(size)

    @pytest.mark.exact
    def test_uniform_and_identical_rows(self) -> None:
        uniform = overlaps(0.0, 0.3, 20)
        assert (uniform.p2, uniform.p11) == rounded((0.05, 0.05))
        same = overlaps(2.0, 1.0, 20)
        assert same.p11 == rounded(same.p2)
        assert same.j11 == rounded(same.j)

    @pytest.mark.law
    def test_large_logits_follow_the_law(self) -> None:
        for rho in (0.2, 0.9):
            exact, law = overlaps(300.0, rho, 48), saturating_overlaps(300.0, rho, 48)
            assert law.p11 == pytest.approx(exact.p11, rel=0.01)
            assert law.j == pytest.approx(exact.j, rel=0.01)
            assert 1 - law.p2 == pytest.approx(1 - exact.p2, rel=0.01)
            assert law.j11 == pytest.approx(exact.j11, rel=0.05)

    @pytest.mark.reference
    @pytest.mark.parametrize("sphere", [0, 31])
    @pytest.mark.parametrize(("v", "within"), [(1.0, 1e-6), (16.0, 3e-6), (64.0, 2e-5)])
    def test_the_curve_is_the_quadrature(self, v: float, within: float, sphere: int) -> None:
        """To its stated error, of the largest value of each function."""
        curve, cosines = OverlapCurve(v, 64, 32, sphere), [0.0, 0.123, 0.77, 0.99, 1.0, -1 / 63]
        found = curve.all(np.array(cosines))
        exact = []
        for rho in cosines:
            s2 = v * (1 - rho)
            one = sphere_overlaps(s2, rho, 64, sphere) if sphere else head_overlaps(s2, rho, 64, 32)
            exact.append([*one, *query_biases(s2, rho, 64, 32)])
        expected = np.array(exact).T
        assert (np.abs(found - expected).max(axis=1) <= within * np.abs(expected).max(axis=1)).all()
        looped = np.array([curve.forward(rho) for rho in cosines])
        np.testing.assert_allclose(looped.T, found[[0, 1, 8]], rtol=1e-12)

    @pytest.mark.statistical
    def test_cosines_of_queries_fluctuate_over_a_head(self) -> None:
        """P11, J11 and E r J11(r) of two rows whose queries have few coordinates."""
        rng, size, n, width, rho, v = np.random.default_rng(4), 60_000, 16, 24, 0.2, 1.5
        x, y = rng.normal(size=(2, size, width))
        y = rho * x + np.sqrt(1 - rho**2) * y
        keys = rng.normal(size=(size, n, width)) * np.sqrt(v * (1 - rho) / width)
        A, B = (np.exp(np.einsum("sjd,sd->sj", keys, q)) for q in (x, y))
        A, B = (w / w.sum(1, keepdims=True) for w in (A, B))
        p11 = (A * B).sum(1)
        j11 = p11 - (A * A * B).sum(1) - (A * B * B).sum(1) + p11**2
        tilt = (x * y).mean(1) * j11
        found = head_overlaps(v * (1 - rho), rho, n, width)
        for value, sample in ((found.p11, p11), (found.j11, j11), (found.tilt, tilt)):
            # lengths of the two queries are taken as common, which costs a fraction of 1 / width
            error = 4.5 * sample.std() / np.sqrt(size) + value / width / 2
            assert abs(value - sample.mean()) < error
        assert abs(rho * found.j11 - tilt.mean()) > error  # what a fixed cosine would say

    def test_out_of_range_is_refused(self) -> None:
        with pytest.raises(AssumptionError, match="logit variance"):
            overlaps(-1.0, 0.0, 8)


@pytest.mark.exact
def test_row_sums_of_one_fix_the_token_mean_of_the_value_gradient() -> None:
    attention = Attention(256, 32, 64, (), None)
    gains = {f"attn.{w}": 1.0 for w in ("query", "key", "value", "output")}
    q, delta = np.ones(3), np.array([1.0, 0.4, 0.01])
    value = attention.backward(attention.at(q, delta, gains), 1 / attention.width)["attn.value"]
    mean_mode = np.array([1.0, 31.0])
    np.testing.assert_allclose(mean_mode @ value, np.broadcast_to(mean_mode, (3, 2)), rtol=1e-12)


@pytest.mark.exact
@pytest.mark.parametrize("normed", [(), ("query", "key"), ("query", "key", "value")])
@pytest.mark.parametrize("inner_norm", [False, True])
def test_second_moments_of_many_inputs_are_those_of_each(normed: tuple[str, ...], inner_norm: bool) -> None:
    norm = HeadNorm(64, "rms") if normed else None
    attention = Attention(256, 32, 64, normed, norm, inner_norm=inner_norm, dropout=0.1)
    gains = {"attn.query": 1.3, "attn.key": 0.9, "attn.value": 0.7, "attn.output": 1.7}
    q, rho = np.array([0.5, 1.0, 2.0, 4.0]), np.array([-0.01, 0.2, 0.9, 1.0])
    one = [attention.forward(float(x), float(x * (1 - r)), gains)[0] for x, r in zip(q, rho, strict=True)]
    at = attention.at(q, q * (1 - rho), gains)
    np.testing.assert_allclose(attention.second_moments(at), one, rtol=1e-12)


@pytest.mark.exact
def test_query_and_key_gradients_vanish_under_rank_collapse() -> None:
    attention = Attention(256, 32, 64, (), None)
    gains = {f"attn.{w}": 1.0 for w in ("query", "key", "value", "output")}
    q, delta = np.ones(2), np.array([1e-3, 1e-4])
    spread = 1 / attention.width
    at = attention.at(q, delta, gains)
    maps = attention.backward(at, spread)
    grad = np.array([[1.0, 0.2], [1.0, 0.2]])
    norms = attention.weight_grads(at, spread, grad, maps)
    # as (1 - rho)^2 and as a constant, up to 1 - rho = 1e-3 itself
    for name in ("attn.query", "attn.key"):
        assert norms[name][0] / norms[name][1] == pytest.approx(100, rel=1e-3)
    assert norms["attn.value"][0] == pytest.approx(norms["attn.value"][1], rel=1e-3)


@pytest.mark.reference
@pytest.mark.parametrize("name", ["silu", "tanh"])
def test_hermite_coefficients_between_knots_are_those_of_the_quadrature(name: str) -> None:
    function = ACTIVATIONS[name].function
    kernel = HermiteSeries(function, name)
    z = np.linspace(-14, 14, 20001)
    w = np.exp(-(z**2) / 2)
    w /= w.sum()
    for q in (1e-3, 0.77, 5.3):
        x = np.sqrt(q) * z
        assert float(kernel.value(q, q, q)) == pytest.approx(w @ function(x) ** 2, rel=1e-8)
        slope = w @ (z * function(x)) / np.sqrt(q)  # E phi' by Stein's lemma: the kernel's slope at c = 0
        assert float(kernel.slope(q, q, 0.0)) == pytest.approx(slope**2, rel=1e-8, abs=1e-10)


@pytest.mark.exact
@pytest.mark.parametrize("name", sorted(KERNELS))
def test_both_tokens_at_once(name: str) -> None:
    """``pair`` is value and slope of one token, then between two."""
    kernel, q, delta = KERNELS[name], np.array([0.5, 0.5, 1.7]), np.array([0.1, 0.5, 1e-9])
    one, slope, two, cross = kernel.pair(q, delta)
    assert one == pytest.approx(kernel.value(q, q, q), rel=1e-12)
    assert slope == pytest.approx(kernel.slope(q, q, q), rel=1e-12)
    assert two == pytest.approx(kernel.value(q, q, q - delta), rel=1e-12, abs=1e-15)
    assert cross == pytest.approx(kernel.slope(q, q, q - delta), rel=1e-12)


@pytest.mark.exact
def test_series_at_the_end_of_its_range() -> None:
    """Between the last knot at which it converges and where it ends, the series is computed directly."""
    kernel = HermiteSeries(np.tanh, "tanh")
    below, above = (float(kernel.value(q, q, q)) for q in (10.7, 11.9))
    assert below < above < 1
    with pytest.raises(AssumptionError, match="has not"):
        kernel.value(20.0, 20.0, 20.0)
