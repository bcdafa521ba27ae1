"""The study of learning: what its tables make of runs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spannorm_theory.bench import learning
from spannorm_theory.bench.training import train, unigram

LEARNT = unigram() - 0.5


def table(losses: dict[str, list[float]], depth: int = 2, start: float = 5.0) -> pd.DataFrame:
    """Runs of several placements at the rates of Adam."""
    return pd.DataFrame(
        {**vars(learning.Job(name, "unit", depth, "adam", rate)), "start": start, "loss": loss}
        for name, own in losses.items()
        for rate, loss in zip(learning.RATES["adam"], own, strict=True)
    )


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known before: shares of 0.1 for each letter of a name, and rates of 1/depth."""

    def known(job: learning.Job) -> dict[str, float]:
        share = 0.1 * len(job.placement)
        return {"coherent_share": share, "step_rate": 1 / job.depth, "gradient_ratio": 2.0}

    monkeypatch.setattr(learning, "_said", known)


@pytest.mark.exact
def test_the_largest_rates_are_those_up_to_which_all_from_the_best_hold(said: None) -> None:
    runs = table(
        {
            "pre-norm": [LEARNT, LEARNT - 0.1, LEARNT, 5.5, LEARNT],  # the last one is chance
            "peri-ln": [4.9, LEARNT, LEARNT, 4.0, 4.0],
            "post-norm": [3.3, 3.3, 3.2, 3.3, np.inf],
            "span-norm": [LEARNT] * 4 + [LEARNT - 0.1],
        }
    )
    found = learning.designs(runs.sample(frac=1, random_state=1), print).set_index("placement")
    assert list(found.loc[["pre-norm", "peri-ln", "span-norm"], "learns_to"]) == [3e-3, 3e-3, 3e-2]
    assert np.isnan(found.loc["post-norm", "learns_to"])
    assert list(found.loc[["pre-norm", "peri-ln", "post-norm"], "stable_to"]) == [3e-3, 3e-2, 1e-2]
    assert found["best_rate"]["pre-norm"] == 1e-3
    assert found["loss"]["pre-norm"] == LEARNT - 0.1
    assert list(found.index[found["top"]]) == ["span-norm"]


@pytest.mark.exact
def test_correlations_are_of_ranks(said: None) -> None:
    names = ["pre-norm", "peri-ln", "post-norm", "hybrid-norm", "siamese-norm"]
    by_letters = {name: [4.0 - 0.1 * len(name), 5.0, 5.0, 5.0, 5.0] for name in names}
    found = learning.correlations(learning.designs(table(by_letters), print))
    rows = found.set_index(["said", "done"])
    assert rows["correlation"]["coherent_share", "loss"] == pytest.approx(-1)
    assert rows["high"]["coherent_share", "loss"] == pytest.approx(-1)
    assert np.isnan(rows["correlation"]["step_rate", "loss"])  # one rate for all
    x, y = np.array([1.0, 2.0, 2.0, 5.0, 9.0]), np.array([3.0, 1.0, 4.0, 4.0, 8.0])
    ranks = np.corrcoef([1, 2.5, 2.5, 4, 5], [2, 1, 3.5, 3.5, 5])[0, 1]
    assert learning._spearman(x, y) == pytest.approx(ranks)


@pytest.mark.exact
def test_exponents_are_slopes_over_depth(said: None) -> None:
    at = {2: [LEARNT] * 4 + [5.0], 8: [LEARNT] * 3 + [5.0] * 2, 32: [LEARNT] * 2 + [5.0] * 3}
    runs = pd.concat([table({"span-norm": own}, depth) for depth, own in at.items()])
    (row,) = learning.exponents(learning.designs(runs, print)).to_dict("records")
    assert row["first_step"] == pytest.approx(-1)
    assert row["learns_to"] == pytest.approx(np.log(0.1) / np.log(16))
    assert row["open"] == pytest.approx(np.log(10) / 2 / np.log(16))
    assert learning._law("span-norm", "depth-scaled-init", "adam") == -1
    assert np.isnan(learning._law("post-norm", "unit", "adam"))  # it is exponential
    assert np.isnan(learning._law("siamese-norm", "unit", "adam"))


@pytest.mark.statistical
def test_a_run_is_what_training_says_and_the_first_step_stands_beside_it() -> None:
    job = learning.Job("pre-norm", "unit", 1, "sign", 1e-3, 3, "width=16 heads=2 tokens=4")
    start, loss = learning.run(job)
    losses = list(train(job.arch, 1e-3, 3, learning.SEQUENCES, 0, "sign"))
    assert (start, loss) == (losses[0], pytest.approx(np.mean(losses)))
    known = learning._said(job)
    assert 0 < known["coherent_share"] < 1
    assert known["gradient_ratio"] >= 1
    assert known["step_rate"] > 0
    assert learning.run(learning.Job(**{**vars(job), "rate": 1e30}))[1] == np.inf
