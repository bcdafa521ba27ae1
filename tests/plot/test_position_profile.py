"""Figures over positions show the numbers of their tables, and refuse what they cannot show."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

import spannorm_theory as st
from spannorm_theory.base.errors import InputError

ARCH = st.Architecture("pre-norm", depth=3, width=64, heads=4, tokens=24, mask="causal")


@pytest.fixture(scope="module")
def theory():
    return st.predict(ARCH, theory="positions", by="position")


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


@pytest.mark.exact
def test_lines_are_theory_and_points_are_monte_carlo(theory) -> None:
    measured = st.simulate(ARCH, networks=3, by="position", positions=[1, 5, 24], progress=False)
    axes = st.plot.position_profile([theory, measured], "grad_variance", layers=[0, 3])
    lines = {line.get_gid(): line for line in axes.lines}
    table = theory[(theory["quantity"] == "grad_variance") & (theory["layer"] == 3)]
    assert lines["theory"].get_ydata() == pytest.approx(table["value"].to_numpy())
    assert lines["monte-carlo"].get_xdata().tolist() == [1, 5, 24]
    rows = measured.table.query("quantity == 'grad_variance' and layer == 3")
    assert np.asarray(lines["monte-carlo"].get_ydata()) == pytest.approx(rows["value"].to_numpy())
    assert [text.get_text() for text in axes.texts] == ["$l=0$", "$l=3$"]
    assert st.plot.position_profile(theory, "variance", layers=[0]).get_legend() is None


@pytest.mark.exact
def test_what_has_no_positions_is_refused(theory) -> None:
    with pytest.raises(InputError, match="no column position"):
        st.plot.position_profile(st.predict(ARCH), "variance")
    with pytest.raises(InputError, match=r"asked for \[9\]"):
        st.plot.position_profile(theory, "variance", layers=[9])
    with pytest.raises(InputError, match="draw it with position_profile"):
        st.plot.depth_profile(theory, "variance")
