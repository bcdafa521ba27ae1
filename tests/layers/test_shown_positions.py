"""Which positions a table by position shows."""

import numpy as np
import pytest

from spannorm_theory.base.errors import InputError
from spannorm_theory.layers.position_grid import position_grid
from spannorm_theory.layers.shown_positions import shown_positions
from spannorm_theory.spec.architecture import Architecture

CAUSAL = Architecture("pre-norm", depth=1, width=32, heads=2, tokens=300, mask="causal")


def test_a_mask_shows_the_grid_of_the_theory_and_short_sequences_every_token():
    assert shown_positions(CAUSAL, None) is None
    shown = shown_positions(CAUSAL, "position")
    assert shown is not None
    assert (shown == position_grid(300, None).positions + 1).all()
    assert (shown[0], shown[-1]) == (1, 300)
    assert shown_positions(CAUSAL.with_(mask="none", tokens=64), "position").tolist() == list(range(1, 65))
    both = position_grid(300, None, causal=False).positions + 1
    assert shown_positions(CAUSAL.with_(mask="none"), "position").tolist() == both.tolist()
    assert shown_positions(CAUSAL, "position", (np.int64(300), 2)).tolist() == [300, 2]


@pytest.mark.parametrize(
    ("by", "positions", "message"),
    [
        ("token", None, "did you mean|known: position"),
        (None, [1], "add by='position'"),
        ("position", [], "integers from 1 to 300, the tokens, got \\[\\]"),
        ("position", [0, 1], "integers from 1 to 300"),
        ("position", [301], "integers from 1 to 300"),
        ("position", [True], "integers from 1 to 300"),
        ("position", [1.5], "integers from 1 to 300"),
        ("position", "12", "integers from 1 to 300"),
        ("position", 7, "integers from 1 to 300"),
        ("position", [9, 9], "each position must come once"),
        ("position", [0] * 1000, r"\.\.\. \(3000 characters\)"),
    ],
)
def test_positions_that_no_table_has_are_refused(by, positions, message):
    with pytest.raises(InputError, match=message):
        shown_positions(CAUSAL, by, positions)


def test_a_window_with_too_many_positions_asks_for_some():
    with pytest.raises(InputError, match="say which, as positions="):
        shown_positions(CAUSAL.with_(tokens=4096, window=4), "position")
