"""A comparison looks at every element, and says where the worst one is."""

import numpy as np
import pytest

from llorch_core.check.compare import MismatchError, as_json, compare, require

INF, NAN = np.inf, np.nan


def test_every_element_is_counted_and_the_worst_is_named():
    got = np.array([[1.0, 2.0], [3.0, 4.5]])
    wanted = np.array([[1.0, 2.25], [3.0, 4.0]])
    found = compare("ln_f", got, wanted, 0.125)
    assert (found.elements, found.outside, found.index) == (4, 2, (1, 1))
    assert (found.got, found.wanted, found.share) == (4.5, 4.0, 4.0)
    assert not found.conforms


def test_an_error_of_just_the_tolerance_conforms():
    assert compare("x", [1.5], [1.0], 0.5).conforms
    assert not compare("x", [1.5], [1.0], 0.499).conforms


def test_a_tolerance_of_zero_demands_equal_numbers():
    assert compare("keys", [1.0, 2.0], [1.0, 2.0]).conforms
    found = compare("keys", [1.0, np.nextafter(2.0, 3.0)], [1.0, 2.0])
    assert (found.outside, found.share) == (1, INF)


@pytest.mark.parametrize(
    ("got", "wanted", "conforms"),
    [
        (-INF, -INF, True),
        (NAN, NAN, True),
        (INF, -INF, False),
        (NAN, 0.0, False),
        (0.0, NAN, False),
        (-INF, -3.4e38, False),
        (1.0, -INF, False),
    ],
)
def test_values_that_are_not_finite_are_compared_by_kind(got, wanted, conforms):
    assert compare("scores", [got], [wanted], 1e9).conforms is conforms


def test_another_shape_never_conforms_even_where_it_would_broadcast():
    found = compare("q", np.ones((1, 3)), np.ones((3, 3)), 1.0)
    assert not found.conforms
    assert "got the shape [1, 3], wanted [3, 3]" in str(found)


def test_a_bound_of_its_own_for_each_element_is_used_element_by_element():
    found = compare("x", [1.0, 1.0], [0.0, 0.0], [2.0, 0.5])
    assert (found.outside, found.index, found.share) == (1, (1,), 2.0)


def test_no_element_is_no_error_and_no_evidence():
    found = compare("keys", np.zeros((2, 0)), np.zeros((2, 0)))
    assert found.conforms
    assert found.elements == 0


def test_the_first_failure_in_data_flow_order_is_raised_with_index_got_wanted_and_distance():
    right = compare("embed", [0.0], [0.0])
    first = compare("h.1.mlp.act", [[0.0, -0.0452]], [[0.0, -0.0448]], 1e-6)
    later = compare("h.1.out", [9.0], [1.0], 1e-6)
    with pytest.raises(MismatchError) as caught:
        require([right, first, later])
    message = str(caught.value)
    assert "h.1.mlp.act [0, 1]: got -0.0452, wanted -0.0448, 4e+02 tolerances away" in message
    assert "1 of 2 elements are outside" in message
    assert "1 more" in message


def test_what_conforms_raises_nothing():
    require([compare("embed", [0.0], [0.0])])


def test_json_holds_numbers_that_are_not_finite_as_text():
    found = as_json(compare("scores", [NAN], [1.0], 1.0))
    assert (found["got"], found["share"], found["wanted"]) == ("nan", "inf", 1.0)
