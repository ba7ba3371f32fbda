"""Each part of GPT-2 alone, by numbers worked out by hand or computed by Python's own float64 math."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from llorch_core.engine import layers
from llorch_core.engine.layers import Array

EPS = 2.0**-23  # distance from 1 to the next float32
INF = math.inf


def f32(values: object) -> Array:
    return np.array(values, np.float32)


def read_only(x: Array) -> Array:
    """Weights lie in a read-only map of their file: whoever writes into one crashes here too."""
    x.flags.writeable = False
    return x


def random(*shape: int, seed: int = 0) -> Array:
    return read_only(np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32))


def test_positions_follow_the_past():
    assert layers.positions(0, 3).tolist() == [0, 1, 2]
    assert layers.positions(3, 2).tolist() == [3, 4]
    assert layers.positions(3, 2).dtype == np.int64


def test_an_embedding_is_the_row_of_the_token_plus_the_row_of_the_place():
    wte = f32([[1, 2], [3, 4], [5, 6]])
    wpe = f32([[10, 20], [30, 40], [50, 60], [70, 80]])
    x = layers.embedding(np.array([2, 0, 2]), np.array([1, 2, 3]), wte, wpe)
    assert x.tolist() == [[35, 46], [51, 62], [75, 86]]


def test_layer_norm_shifts_scales_gains_and_offsets():
    x = f32([[1, 3, 1, 3], [8, 8, 0, 0]])  # means 2 and 4, variances 1 and 16
    y = layers.layer_norm(x, f32([1, 2, 3, 4]), f32([10, 20, 30, 40]), 0.0)
    assert y.tolist() == [[9, 22, 27, 44], [11, 22, 27, 36]]


def test_epsilon_is_added_to_the_variance_under_the_root():
    y = layers.layer_norm(f32([[-3, 3]]), f32([1, 1]), f32([0, 0]), 7.0)  # 3 / sqrt(9 + 7)
    assert y.tolist() == [[-0.75, 0.75]]


def test_a_constant_row_becomes_the_offset():
    y = layers.layer_norm(f32([[5, 5, 5]]), f32([2, 2, 2]), f32([1, -1, 0.5]), 1e-5)
    assert y.tolist() == [[1, -1, 0.5]]


@pytest.mark.parametrize("n_embd", [12, 768, 1600])
def test_a_large_mean_costs_layer_norm_no_more_than_the_rounding_of_that_mean(n_embd):
    """Four units of 1000, over the deviation. E[x²] - E[x]² has no digit left: 1000² has an ulp of 0.06."""
    x = (1000 + 0.1 * np.random.default_rng(1).normal(size=(40, n_embd))).astype(np.float32)
    exact = x.astype(np.float64)
    centred = exact - exact.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    y = layers.layer_norm(x, np.ones(n_embd, np.float32), np.zeros(n_embd, np.float32), 1e-5)
    assert (np.abs(y - centred / deviation) <= 4 * EPS * 1000 / deviation).all()


def test_heads_are_neighbouring_columns():
    x = f32([[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]])
    by_head = layers.split_heads(x, 3)
    assert by_head.tolist() == [[[1, 2], [7, 8]], [[3, 4], [9, 10]], [[5, 6], [11, 12]]]
    assert layers.merge_heads(by_head).tolist() == x.tolist()


def test_a_projection_multiplies_from_the_right_and_adds_its_bias():
    y = layers.projection(f32([[1, 2], [3, 4]]), f32([[1, 10, 100], [2, 20, 200]]), f32([0.5, -1, 7]))
    assert y.tolist() == [[5.5, 49, 507], [11.5, 109, 1107]]


def test_qkv_are_thirds_of_the_columns_in_that_order_and_heads_are_cut_inside_each():
    x = f32([[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]])
    one = np.eye(4, dtype=np.float32)
    weight = np.concatenate([one, 10 * one, 100 * one], axis=1)
    q, k, v = layers.qkv(x, weight, f32([0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 5]), 2)
    assert q.tolist() == [[[1, 2], [5, 6], [9, 10]], [[3, 4], [7, 8], [11, 12]]]
    assert k.tolist() == [[[11, 21], [51, 61], [91, 101]], [[31, 41], [71, 81], [111, 121]]]
    assert v.tolist() == [[[100, 200], [500, 600], [900, 1000]], [[300, 405], [700, 805], [1100, 1205]]]


def test_the_scale_is_one_over_the_root_of_head_dim():
    assert layers.attention_scale(16, 2, True, False) == 0.25
    assert layers.attention_scale(64, 2, True, False) == 0.125


def test_the_config_may_switch_the_scale_off_or_divide_it_by_the_number_of_the_layer():
    assert layers.attention_scale(16, 2, False, False) == 1
    assert layers.attention_scale(16, 0, True, True) == 0.25
    assert layers.attention_scale(16, 3, True, True) == 0.0625
    assert layers.attention_scale(16, 3, False, True) == 0.25


def test_scores_are_scaled_products_and_later_keys_are_hidden():
    q = f32([[[1, 0], [0, 1], [1, 1]], [[2, 0], [0, 2], [1, -1]]])
    keys = f32([[[2, 4], [6, 8], [10, 12]], [[1, 2], [3, 4], [5, 6]]])
    assert layers.attention_scores(q, keys, 0.5).tolist() == [
        [[1, -INF, -INF], [2, 4, -INF], [3, 7, 11]],
        [[1, -INF, -INF], [2, 4, -INF], [-0.5, -0.5, -0.5]],
    ]


def test_with_a_past_the_triangle_is_counted_from_the_lower_right_corner():
    scores = layers.attention_scores(np.ones((2, 2, 3), np.float32), np.ones((2, 5, 3), np.float32), 1.0)
    assert scores.tolist() == [[[3, 3, 3, 3, -INF], [3, 3, 3, 3, 3]]] * 2


@pytest.mark.parametrize(("n_new", "n_seen"), [(1, 1), (1, 4), (3, 3), (3, 4), (4, 9)])
def test_query_i_of_t_sees_all_but_the_last_t_minus_1_minus_i_keys(n_new, n_seen):
    scores = layers.attention_scores(random(2, n_new, 3), random(2, n_seen, 3, seed=1), 1.0)
    seen = np.isfinite(scores).sum(axis=-1)
    assert seen.tolist() == [[n_seen - (n_new - 1 - i) for i in range(n_new)]] * 2


def test_weights_are_shares_of_the_exponentials():
    weights = layers.attention_weights(f32([[[0, math.log(3), -INF], [0, math.log(2), math.log(5)]]]))
    np.testing.assert_allclose(weights, [[[0.25, 0.75, 0], [0.125, 0.25, 0.625]]], rtol=4 * EPS, atol=0)


def test_a_hidden_key_weighs_exactly_nothing_and_a_single_key_everything():
    weights = layers.attention_weights(f32([[[-7, -INF, -INF], [-1e4, -1e4, -INF]]]))
    assert weights.tolist() == [[[1, 0, 0], [0.5, 0.5, 0]]]


@pytest.mark.parametrize("height", [1e4, -1e4, 3e38, -3e38])
def test_scores_of_any_height_neither_overflow_nor_vanish(height):
    weights = layers.attention_weights(f32([[[height, height, -INF, -INF]]]))
    assert weights.tolist() == [[[0.5, 0.5, 0, 0]]]
    one_more = 1 / (1 + math.exp(-1))  # 10001 against 10000
    weights = layers.attention_weights(f32([[[1e4, 1e4 + 1, -1e4]]]))
    np.testing.assert_allclose(weights, [[[1 - one_more, one_more, 0]]], rtol=4 * EPS, atol=0)


def test_the_context_mixes_the_values_of_each_head_and_lays_the_heads_side_by_side():
    probs = f32([[[1, 0], [0.25, 0.75]], [[0, 1], [0.5, 0.5]]])
    values = f32([[[4, 8], [0, 16]], [[10, 20], [30, 40]]])
    assert layers.attention_context(probs, values).tolist() == [[4, 8, 30, 40], [1, 14, 20, 30]]


def test_a_result_goes_where_it_is_wanted_with_the_same_bits():
    x, branch, wide = random(40, 12), random(40, 12, seed=1), random(40, 12, seed=2)
    probs, values = random(2, 40, 5), random(2, 5, 6, seed=1)
    for compute in (
        lambda out: layers.layer_norm(x, branch[0], branch[1], 1e-5, out=out),
        lambda out: layers.projection(x, branch[:12], branch[0], out=out),
        lambda out: layers.residual(x, branch, out=out),
        lambda out: layers.activation(wide, "gelu_new", out=out),
        lambda out: layers.attention_context(probs, values, out=out),
    ):
        place = np.full((40, 12), np.nan, np.float32)
        assert compute(place) is place
        assert np.array_equal(place, compute(None))


@pytest.mark.parametrize("function", ["gelu_new", "relu"])
def test_an_activation_of_many_rows_may_take_the_place_of_its_input(function):
    x = random(70, 5).copy()
    wanted = np.concatenate([layers.activation(row[None], function) for row in x])
    assert np.array_equal(layers.activation(x, function, out=x), wanted)


def test_a_residual_adds_each_side_once():
    assert layers.residual(f32([[1, 2], [3, 4]]), f32([[10, 0.5], [-3, 1]])).tolist() == [[11, 2.5], [0, 5]]


def gelu_new(x: float) -> float:
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu_fast(x: float) -> float:
    return 0.5 * x * (1 + math.tanh(0.7978845608 * x * (1 + 0.044715 * x * x)))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


# Python's float64: the same definitions from their papers, element by element.
BY_PYTHON: dict[str, Callable[[float], float]] = {
    "gelu_new": gelu_new,
    "gelu": lambda x: 0.5 * x * math.erfc(-x / math.sqrt(2)),
    "gelu_fast": gelu_fast,
    "quick_gelu": lambda x: x * sigmoid(1.702 * x),
    "relu": lambda x: max(x, 0.0),
    "silu": lambda x: x * sigmoid(x),
    "tanh": math.tanh,
}


def test_every_activation_of_the_config_has_a_value_to_be_held_against():
    assert BY_PYTHON.keys() == layers.ACTIVATIONS.keys()


@pytest.mark.parametrize(
    ("function", "at_one"),
    [
        ("gelu_new", 0.841192),
        ("gelu", 0.841345),  # the normal distribution function at 1
        ("gelu_fast", 0.841192),
        ("quick_gelu", 0.845796),
        ("relu", 1.0),
        ("silu", 0.731059),
        ("tanh", 0.761594),
    ],
)
def test_an_activation_has_its_known_value_at_one(function, at_one):
    assert layers.activation(f32([1]), function).tolist() == [pytest.approx(at_one, abs=5e-7)]


@pytest.mark.parametrize("function", BY_PYTHON)
def test_an_activation_agrees_with_float64_to_four_units_of_rounding(function):
    x = np.linspace(-12, 12, 4801).astype(np.float32)
    wanted = np.array([BY_PYTHON[function](value) for value in x.tolist()])
    got = layers.activation(x, function)
    assert got.dtype == np.float32
    assert (np.abs(got - wanted) <= 4 * EPS * np.maximum(np.abs(x), EPS)).all()


@pytest.mark.parametrize("function", BY_PYTHON)
def test_an_activation_stays_finite_at_the_extremes(function):
    """Warnings are errors: an overflow on the way, even a harmless one, fails here."""
    x = f32([-1e4, -100, -1e-30, 0, 1e-30, 100, 1e4])
    y = layers.activation(x, function)
    upper, lower = {"tanh": (1, -1)}.get(function, (None, 0))
    assert np.isfinite(y).all() and y[3] == 0
    assert y[:2].tolist() == [lower, lower]
    assert y[5:].tolist() == ([upper, upper] if upper else [100, 1e4])


@pytest.mark.parametrize("function", BY_PYTHON)
def test_a_nan_is_not_swallowed_by_an_activation(function):
    assert np.isnan(layers.activation(f32([math.nan]), function)).all()


def test_erf_is_off_by_less_than_one_unit_in_the_last_place_of_1():
    x = np.linspace(-5, 5, 100_001).astype(np.float32)
    wanted = np.array([math.erf(value) for value in x.tolist()])
    assert np.abs(layers.erf(x) - wanted).max() < EPS


def test_erf_keeps_its_digits_near_zero_and_ends_at_one():
    x = np.geomspace(1e-30, 4, 2000).astype(np.float32)
    wanted = np.array([math.erf(value) for value in x.tolist()])
    assert np.abs(layers.erf(x) / wanted - 1).max() < 2 * EPS
    assert layers.erf(-x).tolist() == (-layers.erf(x)).tolist()
    assert layers.erf(f32([0, 4, INF, -INF])).tolist() == [0, 1, 1, -1]


def test_logits_compare_each_position_with_each_token():
    lm_head = f32([[1, 0], [0, 1], [1, 1], [-2, 3]])  # 4 tokens
    assert layers.logits(f32([[1, 2], [3, 5]]), lm_head).tolist() == [[1, 2, 3, 4], [3, 5, 8, 9]]


def test_a_product_agrees_with_exact_fractions():
    """Half an ulp for each product and each sum: n_in + 1 of them on the absolute values."""
    x, weight, bias = random(3, 7), random(7, 5, seed=1), random(5, seed=2)
    got = layers.projection(x, weight, bias)
    for t in range(3):
        for j in range(5):
            terms = [Fraction(float(x[t, i])) * Fraction(float(weight[i, j])) for i in range(7)]
            terms.append(Fraction(float(bias[j])))
            bound = (7 + 1) * EPS / 2 * float(sum(map(abs, terms)))
            assert abs(Fraction(float(got[t, j])) - sum(terms)) <= bound


def test_the_last_positions_of_sequences_laid_end_to_end():
    assert layers.last_positions([2, 3, 1]).tolist() == [1, 4, 5]
    assert layers.last_positions([1, 1]).tolist() == [0, 1]


@pytest.mark.parametrize(
    "compute",
    [
        lambda: layers.layer_norm(random(3, 4), random(4), random(4), 1e-5),
        lambda: layers.projection(random(3, 4), random(4, 5), random(5)),
        lambda: layers.qkv(random(3, 4), random(4, 12), random(12), 2)[2],
        lambda: layers.attention_scores(random(2, 3, 4), random(2, 5, 4), 0.5),
        lambda: layers.attention_weights(random(2, 3, 5)),
        lambda: layers.attention_context(random(2, 3, 5), random(2, 5, 4)),
        lambda: layers.residual(random(3, 4), random(3, 4)),
        lambda: layers.logits(random(3, 4), random(6, 4)),
        lambda: layers.embedding(np.array([1]), np.array([2]), random(3, 4), random(3, 4)),
        *(lambda f=f: layers.activation(random(3, 4), f) for f in BY_PYTHON),
    ],
)
def test_every_part_leaves_its_inputs_alone_and_stays_in_float32(compute):
    """`random` gives read-only arrays: a part that worked in place of its input would raise."""
    assert compute().dtype == np.float32
