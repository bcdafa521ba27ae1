"""Ratios to theory lie on the law of a finite width, and curves on their laws of large depth."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from spannorm_theory.base.errors import InputError, UnknownNameError
from spannorm_theory.plot import against_law, caption, finite_width
from spannorm_theory.plot.law import formula
from spannorm_theory.prediction.predict import predict
from spannorm_theory.spec.architecture import Architecture
from spannorm_theory.verification.outcome import Verification
from spannorm_theory.verification.verification import verify

SMALL = {"depth": 6, "heads": 2, "tokens": 8}
WIDTHS = (32, 64)


@pytest.fixture(scope="module")
def verified() -> list[Verification]:
    archs = [Architecture(p, width=width, **SMALL) for p in ("pre-norm", "post-norm") for width in WIDTHS]
    return [verify(arch, networks=12, progress=False) for arch in archs]


def drawn(ax: Axes, gid: str) -> list[np.ndarray]:
    return [np.asarray(line.get_xydata()) for line in ax.lines if line.get_gid() == gid]


@pytest.mark.exact
def test_points_are_the_ratios_of_both_means_to_theory(verified: list[Verification]) -> None:
    points = drawn(finite_width(verified), "monte-carlo")
    expected = []
    for one in verified:
        row = one.table.query("quantity == 'grad_variance' and stream == '0' and layer == 0").iloc[0]
        logs = one.ensemble.samples["0", "grad_variance"][:, 0]
        expected += [row["estimate"] / row["theory"], np.exp(logs.mean()) / row["theory"]]
    np.testing.assert_allclose([p[0, 1] for p in points], expected, rtol=1e-9)


@pytest.mark.law
def test_a_line_is_the_factor_from_mean_to_median_of_a_log_normal(verified: list[Verification]) -> None:
    """V of (T9.10) from the cosines of the theory, written out; it falls as the inverse of the width."""
    cosine = predict(verified[1].arch).query("quantity == 'layer_cosine'")["value"].to_numpy()
    variance = 2 / 64 + 2 * (4 * (1 - cosine**2) / 64).sum()
    line = drawn(finite_width(verified[:2]), "theory")[0]
    np.testing.assert_allclose(np.interp(6 / 64, line[:, 0], line[:, 1]), np.exp(-variance / 2), rtol=1e-4)
    np.testing.assert_allclose(np.interp(6 / 32, line[:, 0], line[:, 1]), np.exp(-variance), rtol=1e-3)


def test_the_legend_of_ratios_names_every_placement_and_mark(verified: list[Verification]) -> None:
    legend = finite_width(verified).get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.texts] == [
        "PreNorm",
        "PostNorm",
        "mean",
        "typical network",
        "law of it, $e^{-V/2}$",
    ]
    words = caption(verified, figure="finite_width")
    assert "N = 12 random networks each" in words
    assert "width d = 32 and 64" in words
    assert "L/d = 0.094 to 0.19" in words
    with pytest.raises(InputError, match="found must be the Verification"):
        finite_width([verified[0].table])
    with pytest.raises(UnknownNameError, match="known: grad_variance, variance"):
        finite_width(verified, "token_cosine")


@dataclass(frozen=True)
class Power:
    """3 L^p."""

    power: float

    def log_at(self, L: float) -> float:
        return float(np.log(3) + self.power * np.log(L))

    def __str__(self) -> str:
        return f"3 L^{self.power}"


@pytest.mark.law
def test_pre_norms_variance_over_depth_is_flat_and_over_its_root_is_not() -> None:
    depths = [2**k for k in range(2, 13)]
    archs = [Architecture("pre-norm", depth=depth, width=64, heads=2, tokens=8) for depth in depths]
    slopes = {}
    for power in (1.0, 0.5):
        figure = against_law(archs, "variance", {"pre-norm": Power(power)})
        (line,) = drawn(figure.axes[1], "theory")
        assert line[-1].tolist() == [4096, 1]  # the law goes through the deepest point
        slopes[power] = np.log(line[-1, 1] / line[-2, 1]) / np.log(2)
    assert abs(slopes[1.0]) < 0.01  # the next order, ln L / L
    assert slopes[0.5] == pytest.approx(0.5, abs=0.01)


def test_a_law_is_named_with_its_exponent_and_has_a_key() -> None:
    archs = [f"{p} unit depth={depth} width=32 heads=2 tokens=8" for p in LAWS for depth in (2, 4, 8)]
    figure = against_law(archs, "variance", LAWS)
    names = [text.get_text() for text in figure.axes[0].texts if text.get_gid() == "name"]
    assert names == ["PreNorm,\n$\\propto L^{1.0}$", "SpanNorm,\n$\\propto L^{0.25}$"]
    legend = [text.get_text() for text in figure.legends[0].texts]
    assert legend == ["theory", "law, through the deepest point"]
    with pytest.raises(InputError, match="no law of post-norm"):
        against_law(["post-norm unit depth=2", "post-norm unit depth=4"], "variance", LAWS)
    with pytest.raises(InputError, match="pre-norm has one"):
        against_law("pre-norm unit depth=2", "variance", LAWS)
    with pytest.raises(InputError, match="not in tokens"):
        against_law(["pre-norm unit depth=2 tokens=8", "pre-norm unit depth=4"], "variance", LAWS)


@pytest.mark.parametrize(
    ("law", "message"),
    [
        (lambda L: 1 / 0, "the law of PreNorm failed: ZeroDivisionError"),
        (lambda L: float("nan"), "the law of PreNorm is nan at some depth"),
        (lambda L: "L", "the law of PreNorm failed: ValueError"),
        (None, "laws must be a mapping of placements to laws of the atlas.*got None of pre-norm"),
    ],
)
def test_an_odd_law_is_named(law: Any, message: str) -> None:
    archs = [f"pre-norm unit depth={depth} width=32 heads=2 tokens=8" for depth in (2, 4)]
    laws = {"pre-norm": None if law is None else SimpleNamespace(log_at=law)}
    with pytest.raises(InputError, match=message):
        against_law(archs, "variance", laws)  # type: ignore[arg-type]


def test_a_law_whose_text_is_no_formula_has_none() -> None:
    archs = [f"pre-norm unit depth={depth} width=32 heads=2 tokens=8" for depth in (2, 4)]
    figure = against_law(archs, "variance", {"pre-norm": SimpleNamespace(log_at=np.log)})
    assert [text.get_text() for text in figure.axes[0].texts if text.get_gid() == "name"] == ["PreNorm"]


def test_curves_join_no_networks_that_differ_in_another_field(verified: list[Verification]) -> None:
    law = {"pre-norm": Power(1.0)}
    one, other = (f"pre-norm unit depth={depth} width=32 heads=2 tokens=8" for depth in (2, 4))
    with pytest.raises(InputError, match=r"not in activation, as those of pre-norm \(gelu and relu\)"):
        against_law([one, f"{other} activation=relu"], "variance", law)
    tables = [predict(text) for text in (one, other, f"{other} activation=relu")]  # which do not say fields
    with pytest.raises(InputError, match="several grad_variance of pre-norm that differ in a field"):
        against_law(tables, "grad_variance", law)
    masked = verify(verified[1].arch.with_(activation="relu"), networks=12, progress=False)
    with pytest.raises(InputError, match="depth and width alone, and not in activation"):
        finite_width([verified[0], masked])


LAWS = {"pre-norm": Power(1.0), "span-norm": Power(0.25)}


@pytest.mark.parametrize(
    ("law", "text"),
    [
        ("1.43 L", r"$\propto L$"),
        ("0.995 L^0.0215", r"$\propto L^{0.0215}$"),
        ("e^(0.0213 L)", r"$\propto e^{0.0213 L}$"),
        ("2 e^(-0.1 L^0.5) L^-2", r"$\propto e^{-0.1 L^{0.5}} L^{-2}$"),
        ("1", "constant"),
        ("constant", "constant"),
    ],
)
def test_laws_are_written_as_formulas(law: str, text: str) -> None:
    assert formula(law) == text  # type: ignore[arg-type]
