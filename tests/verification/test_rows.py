"""Estimates over networks, and the word for each row."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers import rounded

from spannorm_theory.verification.estimators import influence, log_mean, mean
from spannorm_theory.verification.outcome import LARGEST_K
from spannorm_theory.verification.rows import FEWEST_EVENTS, gate_width, judge, verdicts


@pytest.mark.statistical
@pytest.mark.parametrize("spread", [0.3, 1.0])
def test_means_of_log_normal_numbers_and_their_errors(spread: float) -> None:
    """Of 400 ensembles of 64 networks: centred at ln of the mean, with the errors that are stated."""
    logs = spread * np.random.default_rng(0).standard_normal((64, 400))
    center, error = log_mean(logs)
    z = (center - spread**2 / 2) / error
    assert abs(z.mean()) < 4 / 400**0.5
    assert abs(z.std() - 1) < 4 / 800**0.5
    _, own = influence(logs, True)
    # the fourth power of 64 normal numbers fluctuates by a few tenths
    assert own.std(axis=0, ddof=1) / 8 == pytest.approx(error, rel=0.5)
    assert np.median(own.std(axis=0, ddof=1) / 8 / error) == pytest.approx(1, abs=0.05)


@pytest.mark.exact
def test_influences_of_plain_means_have_their_error() -> None:
    sample = np.random.default_rng(0).standard_normal((10, 3))
    center, own = influence(sample, False)
    assert center == rounded(mean(sample)[0])
    assert own.std(axis=0, ddof=1) / np.sqrt(10) == rounded(mean(sample)[1])


def judged(theory: float, sample: float, least: float = -np.inf) -> dict[str, np.ndarray]:
    """A row of a squared norm whose logarithm is the same in all networks."""
    return judge(np.full((8, 1), sample), np.array([theory]), None, 5.0, np.array([0.1]), True, least)


@pytest.mark.exact
def test_zeros_agree_with_zeros_and_with_nothing_else() -> None:
    assert judged(-np.inf, -80.0, least=-70.0)["gate"] == 0
    for theory, sample in ((-np.inf, -60.0), (-3.0, -np.inf)):
        assert not judged(theory, sample, least=-70.0)["gate"][0] <= 1


@pytest.mark.exact
def test_each_row_has_the_word_for_it() -> None:
    rows = [  # quantity, layer, theory, gate, z, outside, verdict
        ("variance", 0, 1.0, 0.5, 1.0, 0, "ok"),
        ("variance", 0, 1.0, 0.5, 9.0, 0, "within width"),
        ("variance", 0, 1.0, 0.5, 1.0, 2, "out of bounds"),
        ("variance", 0, 1.0, 1.5, 9.0, 2, "off"),
        ("variance", 0, 1.0, np.nan, 1.0, 0, "off"),
        ("stable_rank", 0, np.nan, np.nan, 1.0, 0, "not predicted"),
        # attention of block 1 is a maximum nearly always: gradients at and in front of it are rare events
        ("weight_grad_norm", 0, 1.0, 9.0, 9.0, 0, "rare"),
        ("grad_variance", 1, 1.0, 9.0, 9.0, 0, "rare"),
        ("grad_token_cosine", 2, 1.0, 9.0, 9.0, 0, "off"),
        ("variance", 1, 1.0, 9.0, 9.0, 0, "off"),
    ]
    names = ["quantity", "layer", "theory", "gate", "z", "outside", "expected"]
    table = pd.DataFrame(rows, columns=names)
    events = np.array([10.0, 0.5, 3.0]) * FEWEST_EVENTS
    assert verdicts(table, events, 5.0).tolist() == table["expected"].tolist()


@pytest.mark.exact
def test_the_gate_of_many_rows_and_few_networks_is_wider() -> None:
    """Student's quantile of probability 1e-3, for one row and many networks that of the normal law."""
    assert gate_width(10**9, 1) == pytest.approx(3.290526731, rel=1e-8)  # nine digits
    assert gate_width(10**9, 1) < gate_width(10**9, 100) < gate_width(16, 100)


@pytest.mark.reference
def test_gates_of_few_networks_let_everything_pass() -> None:
    """Standard errors that count in 392 rows, of three to eight networks; 22 to 30 reach six."""
    for networks, gate in ((3, 626), (4, 95), (8, 13.7)):
        assert gate_width(networks, 392) == pytest.approx(gate, rel=0.005)
    assert gate_width(22, 100) < LARGEST_K < gate_width(22, 392)
    assert gate_width(30, 392) < LARGEST_K


@pytest.mark.exact
def test_means_of_what_is_zero_in_some_networks() -> None:
    """Not log-normal: the plain mean and its standard error."""
    values = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [0.0, 2.0]])
    with np.errstate(divide="ignore"):
        center, error = log_mean(np.log(values))
    assert np.exp(center[0]) == rounded(1.5)
    assert error[0] == rounded(values[:, 0].std(ddof=1) / 2 / 1.5)
    logs = np.log(values[:, 1])
    assert center[1] == rounded(logs.mean() + logs.var(ddof=1) / 2)


@pytest.mark.exact
def test_rounding_is_no_difference_and_small_numbers_are_no_rounding() -> None:
    """A variance of one in every network; and an update of 1e-10 that the theory has twice as large."""
    same = np.log1p(np.array([[1e-16], [3e-16], [2e-16]]))
    assert judge(same, np.zeros(1), None, 5.0, np.zeros(1), True)["z"] == 0
    small = 1e-10 * np.array([[1.0], [1.01], [0.99]])
    assert abs(judge(small, np.array([2e-10]), None, 5.0, np.zeros(1), False)["z"]) > 5
