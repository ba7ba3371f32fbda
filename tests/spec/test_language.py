"""The equation language computes what is written, and can do nothing else."""

import math
import warnings

import numpy as np
import pytest

from llorch_core.spec.errors import SpecError
from llorch_core.spec.language import FUNCTIONS, Equation, at_most

X = np.array([[1.0, 3.0, 2.0], [4.0, -4.0, 6.0]])

# an equation, and what it is, worked out by hand
COMPUTED = {
    "1 + 2 * 3 - 4 / 8": 6.5,
    "-2 ** 2": -4.0,
    "2 ** -1": 0.5,
    "x * 2": [[2, 6, 4], [8, -8, 12]],
    "x @ transpose(x)": [[14, 4], [4, 68]],
    "x[0]": [1, 3, 2],
    "x[1, 0:2]": [4, -4],
    "x[0:2, 1]": [3, -4],
    "x[arange(2), 0]": [1, 4],
    "x[1 - arange(2)]": [[4, -4, 6], [1, 3, 2]],
    "x > 2": [[0, 1, 0], [1, 0, 1]],
    "(x >= 3) + (x == 2) + (x != x) + (x < 0) + (x <= -4)": [[0, 1, 1], [1, 2, 1]],
    "mean(x)": [[2], [2]],
    "sum(x)": [[6], [6]],
    "max(x)": [[3], [6]],
    "min(x)": [[1], [-4]],
    "argmax(x)": [[1], [2]],
    "cumsum(x)": [[1, 4, 6], [4, 0, 6]],
    "sort(x)": [[3, 2, 1], [6, 4, -4]],
    "rank(x)": [[2, 0, 1], [1, 2, 0]],
    "rank(x * 0)": [[0, 1, 2], [0, 1, 2]],
    "take(x, rank(x))": [[2, 1, 3], [-4, 6, 4]],
    "occurs(arange(2) * 2, 4)": [1, 0, 1, 0],
    "abs(x[1])": [4, 4, 6],
    "sqrt(x[1, 0])": 2.0,
    "exp(0)": 1.0,
    "log(exp(2))": 2.0,
    "tanh(0)": 0.0,
    "sigmoid(0)": 0.5,
    "erf(0.5)": math.erf(0.5),
    "maximum(x[0], 2)": [2, 3, 2],
    "minimum(x[0], 2)": [1, 2, 2],
    "where(x > 2, x, 0)": [[0, 3, 0], [4, 0, 6]],
    "concat(x, x[0:1])": [[1, 3, 2], [4, -4, 6], [1, 3, 2]],
    "split(x, 3, 1)": [[3], [-4]],
    "transpose(x)": [[1, 4], [3, -4], [2, 6]],
    "reshape(x, 3, 2)": [[1, 3], [2, 4], [-4, 6]],
    "permute(reshape(x, 1, 2, 3), 2, 0, 1)": [[[1, 4]], [[3, -4]], [[2, 6]]],
    "heads(x, 3)": [[[1], [4]], [[3], [-4]], [[2], [6]]],
    "merge(heads(x, 3))": [[1, 3, 2], [4, -4, 6]],
    "causal(2, 3)": [[1, 1, 0], [1, 1, 1]],
    "arange(3)": [0, 1, 2],
    "pi - pi + inf": math.inf,
}


@pytest.mark.parametrize("text", COMPUTED)
def test_an_equation_computes_what_is_written(text):
    np.testing.assert_allclose(Equation(text).run({"x": X}), COMPUTED[text], rtol=1e-15)


def test_every_function_of_the_language_is_tried_here():
    tried = {name for text in COMPUTED for name in Equation(text).calls} | {"dropout"}
    assert tried == set(FUNCTIONS)


def test_dropout_loses_a_tenth_at_random_and_makes_up_for_it():
    ones = np.ones(100_000)
    first, second = (Equation("dropout(x)").run({"x": ones}) for _ in range(2))
    assert set(np.unique(first)) == {0.0, 1 / 0.9}
    assert abs(np.mean(first == 0) - 0.1) < 0.01
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    "text",
    [
        "x.T",
        "x.__class__",
        "'text'",
        "b'bytes'",
        "True",
        "None",
        "1j",
        "...",
        "lambda: 1",
        "[x for x in x]",
        "(x for x in x)",
        "{1: 2}",
        "{1}",
        "(1, 2)",
        "[1, 2]",
        "x if x else x",
        "x and x",
        "not x",
        "~x",
        "x // 2",
        "x % 2",
        "x << 1",
        "1 < x < 2",
        "x is x",
        "x in x",
        "(y := 1)",
        "f'{x}'",
        "sum(*x)",
        "sum(x=x)",
        "sum(x, x)",
        "x(1)(2)",
        "await x",
        "x[...]",
        "x[*x]",
        "x if x else " * 60 + "x",
        "1if x else 2",
        "'\\d'",
        "x; x",
        "x\0",
        "\ud800",
        "__import__('os').system('true')",
        "x[0](1)",
        "",
        "x = 1",
        "import os",
        "1 +",
        "x" * 3000,
        "+".join("x" * 500),
        "(" * 900 + "x" + ")" * 900,
        "-" * 1900 + "1",
    ],
)
def test_what_is_no_equation_is_refused_when_it_is_made(text):
    with pytest.raises(SpecError):
        Equation(text)


def test_python_warns_nobody_of_what_is_refused():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(SpecError, match="invalid decimal literal"):
            Equation("1if x else 2")
    assert caught == []


@pytest.mark.parametrize(
    "text",
    [
        "y",
        "open(x)",
        "__import__(x)",
        "eval(x)",
        "x[5]",
        "x[arange(4)]",
        "x[0 - 1 - arange(2)]",
        "x[0.5]",
        "x @ x",
        "x + arange(7)",
        "arange(10 ** 10)",
        "arange(inf)",
        "arange(0.5)",
        "arange(-1)",
        "causal(-1, 2)",
        "x[-1]",
        "x[0:-1]",
        "x[0:3]",
        "x[0:2:0]",
        "x[0, 0, 0]",
        "x[inf]",
        "x[0][0][0]",
        "x[0 * reshape(arange(20000), 20000, 1), 0 * arange(20000)]",
        "x[x[x[x[9]]]]",
        "heads(x, inf)",
        "permute(x, inf, 1)",
        "reshape()",
        "max(arange(0))",
        "causal(10 ** 6, 10 ** 6)",
        "occurs(arange(2), 10 ** 12)",
        "reshape(arange(10 ** 5), 10 ** 5, 1) * arange(10 ** 5)",
        "reshape(arange(10 ** 5), 10 ** 5, 1) @ reshape(arange(10 ** 5), 1, 10 ** 5)",
        "where(reshape(arange(10 ** 5), 10 ** 5, 1), arange(10 ** 5), 1)",
        "reshape(x, 4, 4)",
        "permute(x, 0, 0)",
        "heads(x, 2)",
        "merge(x)",
        "split(x, 2, 0)",
        "split(x, 3, 3)",
        "take(x, x * 100)",
        "1" + "0" * 400 + " + x[" + "1" + "0" * 400 + "]",
    ],
)
def test_what_cannot_be_computed_is_a_spec_error_and_no_crash(text):
    with pytest.raises(SpecError):
        Equation(text).run({"x": X})


def test_a_tower_of_powers_is_infinite_and_not_endless():
    assert Equation("9 ** 9 ** 9 ** 9").run({}) == math.inf


def test_doubling_a_tensor_again_and_again_ends_at_the_bound():
    x = np.ones((1, 2**10))
    with at_most(2**20), pytest.raises(SpecError, match="larger than 1,048,576 elements"):
        for _ in range(20):
            x = Equation("concat(x, x)").run({"x": x})
    assert x.size == 2**20


def test_a_smaller_bound_ends_with_its_block():
    with at_most(4), pytest.raises(SpecError, match="larger than 4 elements"):
        Equation("arange(5)").run({})
    assert Equation("arange(5)").run({}).size == 5


def test_indices_that_meet_are_bounded_together_and_not_one_by_one():
    equation = Equation("x[reshape(arange(2), 2, 1), arange(3)]")
    with at_most(6):
        np.testing.assert_array_equal(equation.run({"x": X}), X)
    with at_most(5), pytest.raises(SpecError, match=r"shape \[2, 3\] is larger than 5"):
        equation.run({"x": X})


def test_no_positions_are_cut_into_heads_and_merged_again():
    assert Equation("heads(reshape(arange(0), 0, 4), 2)").run({}).shape == (2, 0, 2)
    assert Equation("merge(reshape(arange(0), 2, 0, 3))").run({}).shape == (0, 6)


def test_the_mean_of_nothing_is_not_a_number_and_warns_nobody():
    assert np.isnan(Equation("mean(arange(0))").run({})).tolist() == [True]


def test_what_overflows_or_is_undefined_warns_nobody():
    got = [
        Equation(text).run({})
        for text in ("exp(1000)", "log(0)", "1 / 0", "0 / 0", "sqrt(-1)", "sigmoid(-1000)")
    ]
    np.testing.assert_array_equal(got, [math.inf, -math.inf, math.inf, math.nan, math.nan, 0.0])


def test_an_equation_knows_what_it_reads_and_what_it_calls():
    equation = Equation("where(mask, scale * q, -inf) + sum(q)")
    assert equation.names == {"mask", "scale", "q"}
    assert equation.calls == {"where", "sum"}


def test_lists_are_for_examples_only():
    np.testing.assert_array_equal(
        Equation("[[1, 1/2], [sqrt(4), -inf]]", lists=True).run({}), [[1, 0.5], [2, -math.inf]]
    )
    with pytest.raises(SpecError):
        Equation("[[1], [1, 2]]", lists=True).run({})
