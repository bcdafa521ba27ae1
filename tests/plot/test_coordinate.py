"""The coordinate check, and theory and networks of tables that stand apart."""

from __future__ import annotations

import numpy as np
import pytest

import spannorm_theory as st
from spannorm_theory.base.errors import InputError
from spannorm_theory.plot.curves import curves, join, view


@pytest.fixture(scope="module")
def tables() -> list:
    archs = [
        f"{name} depth={depth} width=32 heads=2 tokens=4"
        for name in ("pre-norm", "post-norm")
        for depth in (1, 3)
    ]
    return [st.first_step(arch, "sign", networks=n, progress=False) for arch in archs for n in (0, 3)]


@pytest.mark.exact
def test_lines_are_roots_of_the_theory_and_points_of_the_networks(tables: list) -> None:
    axes = st.plot.coordinate_check(tables)
    drawn = {
        line.get_gid(): line
        for line in axes.lines
        if line.get_gid() and line.get_color() == axes.lines[0].get_color()
    }
    for gid, table in (("theory", 0), ("monte-carlo", 1)):
        rows = [t[(t["stream"] == "output") & (t["quantity"] == "stream_change")] for t in tables[table:4:2]]
        assert list(drawn[gid].get_xdata()) == [1, 3]
        assert drawn[gid].get_ydata() == pytest.approx([float(r["value"].iloc[0]) ** 0.5 for r in rows])
    bars = axes.containers[0].lines[2][0].get_segments()
    table = tables[1]
    row = table[(table["stream"] == "output") & (table["quantity"] == "stream_change")].iloc[0]
    half = 4.302653 * row["relative_se"] / 2  # Student's of 2 degrees, of a root
    assert bars[0][1][1] / bars[0][0][1] == pytest.approx(np.exp(2 * half), rel=1e-5)
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["PreNorm", "PostNorm"]


@pytest.mark.exact
def test_what_is_no_coordinate_check_is_refused(tables: list) -> None:
    with pytest.raises(InputError, match="differ in width alone, and not in depth"):
        st.plot.coordinate_check(tables, "width")
    with pytest.raises(InputError, match="pass tables of first_step"):
        st.plot.coordinate_check(st.predict("pre-norm depth=1 width=32 heads=2 tokens=4"))


@pytest.mark.exact
def test_theory_and_networks_of_two_tables_are_one_curve(tables: list) -> None:
    (curve,) = curves(join(tables[2:4]), view("learning_share"), "block")
    assert list(curve.layer) == [0, 1, 2]
    assert np.isfinite([curve.theory, curve.estimate, curve.lower]).all()
    (coherent,) = curves(join(tables[2:4]), view("coherent_share"), "all")  # that of the output is no curve
    assert list(coherent.layer) == [0, 1, 2, 3]
    (alone,) = curves(join(tables[2]), view("learning_share"), "block")
    assert list(alone.theory) == list(curve.theory)
