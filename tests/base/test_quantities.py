"""The tidy table, and its form by position."""

import numpy as np
import pytest

from spannorm_theory.base.quantities import tidy, tidy_positions


@pytest.mark.exact
def test_a_table_by_position_is_one_table_for_each_position():
    """Rows of a position are the tidy table of its profiles."""
    random = np.random.default_rng(0)
    keys = [("0", "variance"), ("0", "grad_variance"), ("1", "variance")]
    profiles, errors = ({key: random.normal(size=(3, 2)) for key in keys} for _ in range(2))
    labels = {"placement": "pre-norm", "depth": 2}
    table = tidy_positions(labels, [1, 64], profiles, {"se": errors}, theory="positions")
    assert list(table.columns[:4]) == ["placement", "depth", "layer", "position"]
    for i, position in enumerate([1, 64]):
        alone = tidy(
            labels,
            {key: profiles[key][:, i] for key in keys},
            {"se": {key: errors[key][:, i] for key in keys}},
            theory="positions",
        )
        mine = table[table["position"] == position].drop(columns="position").reset_index(drop=True)
        assert mine.equals(alone)
