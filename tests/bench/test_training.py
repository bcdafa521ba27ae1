"""A module trains: on text, it learns more than how frequent characters are."""

from __future__ import annotations

import numpy as np
import pytest

from spannorm_theory.bench.training import reader, text, train, unigram


@pytest.mark.exact
def test_the_text_is_read_as_ids_of_its_characters() -> None:
    ids, types = text()
    counts = np.bincount(ids.numpy())
    assert len(counts) == types
    assert (np.diff(counts[:-1]) <= 0).all()
    assert len(ids) > 100_000


@pytest.mark.statistical
def test_a_small_module_learns_more_than_frequencies() -> None:
    arch = reader("span-norm depth-scaled-init depth=2 width=64 tokens=32")
    losses = list(train(arch, 0.01, steps=60))
    assert losses[0] > np.log(text()[1])
    assert np.mean(losses[-10:]) < unigram() - 0.3
