"""How far one tensor is from another, in tolerances."""

import numpy as np
import pytest

from llorch_core.spec.difference import PRECISIONS, shares


def test_the_share_is_the_error_over_the_bound():
    np.testing.assert_array_equal(
        shares([1.5, 1.0, -1.0], [1.0, 1.0, 1.0], [0.25, 0.25, 4.0]), [2.0, 0.0, 0.5]
    )


def test_equal_values_have_no_share_whatever_the_bound():
    values = [0.0, np.inf, -np.inf, np.nan]
    np.testing.assert_array_equal(shares(values, values, 0.0), [0, 0, 0, 0])


def test_any_difference_is_infinite_at_bound_zero():
    assert shares([1.0], [1.0 + 2**-52], 0.0) == [np.inf]


def test_what_is_not_finite_is_infinitely_far_from_everything_else():
    np.testing.assert_array_equal(
        shares([np.inf, np.nan, 1.0, 1.0, np.inf], [1.0, 1.0, np.nan, -np.inf, -np.inf], 1e9), [np.inf] * 5
    )


@pytest.mark.parametrize("name", ["float16", "float32", "float64"])
def test_the_units_of_a_precision_are_those_of_the_format(name):
    info = np.finfo(name)
    assert PRECISIONS[name] == (info.eps, info.tiny)
