"""How probable a token was: sums worked out by hand."""

import math

import numpy as np
import pytest

from llorch_core.server.chance import chance_of


def test_a_probability_is_a_share_of_the_exponentials():
    row = np.log(np.array([1, 2, 4, 1], np.float32))
    chance = chance_of(row, 1, 2)
    assert math.isclose(chance.logprob, math.log(2 / 8), rel_tol=1e-6)
    assert [token for token, _ in chance.likeliest] == [2, 1]
    assert math.isclose(chance.likeliest[0][1], math.log(4 / 8), rel_tol=1e-6)


@pytest.mark.parametrize("count", [0, 1, 3, 5, 9])
def test_of_equals_the_lowest_ids_are_told_and_never_more_than_were_asked_for(count):
    row = np.array([1, 3, 3, 0, 3], np.float32)
    assert [token for token, _ in chance_of(row, 0, count).likeliest] == [1, 2, 4, 0, 3][:count]


def test_large_logits_do_not_overflow():
    chance = chance_of(np.array([1e30, 0, -1e30], np.float32), 0, 3)
    assert chance.logprob == 0
