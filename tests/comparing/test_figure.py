"""The figure of a comparison: curves, their names, and what is drawn of networks."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import spannorm_theory as st
from spannorm_theory.base.errors import AssumptionError

SIZE = {"depth": 12, "width": 64, "heads": 4, "tokens": 8}
SIX = ["pre-norm", "post-norm", "span-norm", "sandwich", "peri-ln", "hybrid-norm"]


def test_panels_hold_five_curves_of_the_first_candidates_each_with_its_name() -> None:
    found = st.compare(SIX, laws=False, **SIZE)
    figure = found.figure()
    shown = found.table["candidate"][:5].tolist()
    assert "the first 5 of 6" in figure.axes[0].get_title(loc="left")
    for ax, quantity in zip(figure.axes, ("grad_variance", "token_cosine"), strict=True):
        lines = [line for line in ax.lines if line.get_label() != "_leader"]
        assert len(lines) == 5
        names = {text.get_text().replace("\n", ""): text.get_color() for text in ax.texts}
        assert list(names) == shown
        for arch, line in zip(found.architectures, lines, strict=False):
            rows = st.predict(arch)
            rows = rows[(rows["quantity"] == quantity) & (rows["stream"] == "0")].sort_values("layer")
            values = rows["value"].to_numpy()
            np.testing.assert_allclose(line.get_ydata(), values, rtol=1e-9, atol=1e-9)
            assert line.get_color() == st.plot.placement_style(arch.placement).colour


def test_names_do_not_lie_on_each_other() -> None:
    figure = st.compare(SIX[:5], laws=False, **SIZE).figure()
    figure.draw_without_rendering()
    for ax in figure.axes:
        boxes = sorted((text.get_window_extent() for text in ax.texts), key=lambda box: box.y0)
        assert all(above.y0 > below.y0 + 0.8 * below.height for below, above in pairwise(boxes))


def test_networks_are_points_with_95_percent_intervals() -> None:
    found = st.compare(["pre-norm"], networks=4, laws=False, **{**SIZE, "depth": 4})
    (points,) = [line for line in found.figure().axes[1].lines if line.get_gid() == "monte-carlo"]
    ensemble = st.simulate(found.architectures[0], networks=4, progress=False)
    sample = ensemble.samples["0", "token_cosine"]
    np.testing.assert_allclose(points.get_ydata(), sample.mean(axis=0))
    (bars,) = [c for ax in found.figure().axes[1:] for c in ax.collections]
    low, high = np.array([segment[:, 1] for segment in bars.get_segments()]).T
    student = 3.1824  # of three degrees of freedom, at 97.5 %
    np.testing.assert_allclose((high - low) / 2, student * sample.std(axis=0, ddof=1) / 2, rtol=1e-4)
    assert "4 networks" in found.figure().axes[0].get_title(loc="left")


def test_no_candidate_no_figure() -> None:
    found = st.compare("no-norm", laws=False, **{**SIZE, "depth": 600}, init=0.9)
    with pytest.raises(AssumptionError, match="no candidate of the comparison is predicted"):
        found.figure()
