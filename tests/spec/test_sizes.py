"""What is known of a stack or a vocabulary without a list of that length."""

from __future__ import annotations

import numpy as np
import pytest
from sympy import Rational

from spannorm_theory import Architecture
from spannorm_theory.spec.position import Questions
from spannorm_theory.spec.token_law import TokenLaw


@pytest.mark.exact
def test_the_different_blocks_of_a_stack_are_those_of_its_list() -> None:
    for fraction in (None, Rational(0), Rational(1, 4), Rational(2, 3), Rational(1)):
        for period in (None, 1, 2, 5):
            questions = Questions(fraction, period)
            for depth in range(1, 25):
                for cycle in (1, 2, 3):
                    layers, order = questions.blocks(depth, cycle)
                    answers = [(questions.position(l, depth), l % cycle) for l in range(depth)]
                    assert layers == tuple(answers.index(each) for each in dict.fromkeys(answers))
                    assert [answers[layers[which]] for which in order] == answers


def test_a_deep_stack_is_made_at_once() -> None:
    for name in ("mix-ln", "hyper-connections", "pre-norm"):
        fields = {"mask": "causal", "window": 8, "attention_pattern": "window,window,full"}
        arch, deep = (Architecture(name, depth=depth, **fields) for depth in (24, 10**15))
        assert set(arch.traces) == set(deep.traces)


@pytest.mark.exact
def test_the_collision_probability_is_the_sum_over_types() -> None:
    for types in (2, 3, 50, 32_000):
        law = TokenLaw("zipf", types)
        assert law.collision == pytest.approx(np.square(law.probabilities).sum(), rel=1e-12)
    assert 0 < TokenLaw("zipf", 10**15).collision < TokenLaw("zipf", 10**14).collision
