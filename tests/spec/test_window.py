"""A tolerance is a window: honest engines inside, mistakes far outside, and the spec says what is hidden."""

import numpy as np
import pytest

from llorch_core.spec.arithmetic import FLOAT32, computed_in, to_bfloat16, to_float16, to_float32
from llorch_core.spec.component import read_component
from llorch_core.spec.difference import PRECISIONS, shares
from llorch_core.spec.errors import SpecError
from llorch_core.spec.language import Equation
from llorch_core.spec.oracle import random_oracle
from llorch_core.spec.suite import load_specs, suite_folder
from llorch_core.spec.window import Place, measure, places

CONFIG = {
    "n_layer": 1, "n_head": 2, "head_dim": 3, "n_embd": 6, "n_inner": 10, "n_vocab": 17, "n_ctx": 16,
    "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False, "tie_word_embeddings": True,
}  # fmt: skip
CARD = """\
id: product
title: A product
purpose: Multiply the rows of a tensor by a matrix.
source: ["by hand"]
inputs:
  x: {shape: [T, n_embd], meaning: rows}
  weight: {shape: [n_embd, n_inner], meaning: matrix}
equations:
  out: x @ weight
output: {out: [T, n_inner]}
tolerance:
  bound: 18 * eps * (abs(x) @ abs(weight))
  why:   a sum of products
conditions:
  several_rows:
    holds: T >= 3
    why:   one row hides the others
rules:
  plain:
    must:    Multiply.
    source:  by hand
    catches: [doubled, a_little_more]
mistakes:
  doubled:
    instead: {out: 2 * (x @ weight)}
    symptom: twice as much
  a_little_more:
    instead: {out: 1.003 * (x @ weight)}
    symptom: a little more
    hidden_in: [float16, bfloat16]
"""


def window(folder, text):
    path = folder / "product.yaml"
    path.write_text(text)
    component = read_component(path, suite_folder() / "specs" / "schema", {})
    oracle = random_oracle(load_specs(), CONFIG)
    return measure(component, places(component, load_specs().defaults, oracle, [[1, 2, 3], [4]]))


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (1.0, 1.0),
        (1 + 2**-8, 1.0),  # a tie goes to the even neighbour
        (1 + 3 * 2**-8, 1 + 2**-6),
        (1 + 2**-8 + 2**-20, 1 + 2**-7),
        (-3.140625, -3.140625),
        (3.14159265, 3.140625),
        (np.inf, np.inf),
        (-np.inf, -np.inf),
        (3.4e38, np.inf),
    ],
)
def test_bfloat16_has_eight_bits_and_rounds_to_the_nearest_even(value, wanted):
    assert to_bfloat16(np.array([value])) == [wanted]


def test_nan_stays_nan_in_every_precision():
    for to in (to_bfloat16, to_float16, to_float32):
        assert np.isnan(to(np.array([np.nan])))


def test_every_order_of_summation_is_exact_where_nothing_is_rounded():
    x = np.arange(1.0, 22.0).reshape(3, 7)
    for arithmetic in FLOAT32:
        np.testing.assert_array_equal(arithmetic.total(x), [[28], [77], [126]])
        np.testing.assert_array_equal(arithmetic.product(x, np.eye(7)), x)


def test_the_orders_of_summation_differ_where_something_is_rounded():
    x = np.random.default_rng(0).normal(size=(1, 1001)).astype(np.float32).astype(np.float64)
    totals = {float(arithmetic.total(x)[0, 0]) for arithmetic in FLOAT32}
    assert len(totals) >= 4
    for total in totals:
        assert abs(total - x.sum()) < 1e-4


def test_equations_are_computed_in_the_arithmetic_that_is_asked_for():
    names = {"x": np.array([1.0, 2.0**-30])}
    with computed_in(FLOAT32[0]):
        assert Equation("sum(x) - 1").run(names) == [0.0]
    assert Equation("sum(x) - 1").run(names) == [2.0**-30]


def test_a_good_tolerance_is_a_window(tmp_path):
    found = window(tmp_path, CARD)
    found.check()
    assert 0.01 < max(found.noise.values()) <= 0.25
    assert found.nearest()[0] == "a_little_more"
    assert found.hidden("float32") == []
    assert found.hidden("bfloat16") == ["a_little_more"]


def test_a_tolerance_that_honest_engines_nearly_fill_is_refused(tmp_path):
    with pytest.raises(SpecError, match=r"product\.yaml:\d+: an honest engine .* and 0.25 is allowed"):
        window(tmp_path, CARD.replace("18 * eps", "1 * eps")).check()


def test_a_mistake_that_is_hidden_must_be_said_to_be(tmp_path):
    with pytest.raises(SpecError, match="a_little_more cannot be seen in bfloat16"):
        window(tmp_path, CARD.replace("[float16, bfloat16]", "[float16]")).check()


def test_a_mistake_that_shows_must_not_be_said_to_be_hidden(tmp_path):
    text = CARD.replace("twice as much\n", "twice as much\n    hidden_in: [bfloat16]\n")
    with pytest.raises(SpecError, match="doubled shows in bfloat16"):
        window(tmp_path, text).check()


def test_a_component_of_the_model_is_measured_on_what_it_reads_there():
    component = load_specs().components["residual"]
    oracle = random_oracle(load_specs(), CONFIG)
    found = list(places(component, load_specs().defaults, oracle, [[1, 2, 3], [4]]))
    in_model = [place for place in found if place.config is oracle.config]
    assert len(in_model) == 2 * 2  # mid and out of one block, in two calls
    assert isinstance(in_model[0], Place)
    assert in_model[0].inputs["stream"].shape == (3, 6)


@pytest.mark.untraced
def test_every_tolerance_that_ships_is_a_window_on_its_samples():
    oracle = random_oracle(load_specs(), CONFIG)
    for component in load_specs().components.values():
        found = measure(component, places(component, load_specs().defaults, oracle, [[1, 2, 3], [4]]))
        assert max(found.noise.values()) <= 0.25, component.id
        assert not found.hidden("float32"), component.id


@pytest.mark.parametrize("arithmetic", FLOAT32, ids=lambda a: a.name)
@pytest.mark.parametrize("name", ["layer_norm", "attention_weights", "attention_context"])
def test_long_sums_of_one_sign_leave_an_honest_engine_well_inside(name, arithmetic):
    # A sum of numbers of one sign, term by term, is the worst that an honest loop in float32 does: at the
    # width and the context of GPT-2 its rounding has walked 20 times as far as in the samples.
    rng = np.random.default_rng(0)
    component, config, size = load_specs().components[name], load_specs().defaults, 1024
    inputs = {
        "layer_norm": {"x": rng.normal(3, 1, (64, size)), "weight": np.ones(size), "bias": np.zeros(size)},
        "attention_weights": {"scores": rng.normal(0, 5, (1, 64, size))},
        "attention_context": {
            "probs": rng.dirichlet(np.ones(size), (1, 64)),
            "values": rng.normal(0.3, 0.1, (1, size, 4)),
        },
    }[name]
    inputs = {key: to_float32(x) for key, x in inputs.items()}
    sizes = component.sizes(inputs, {})
    wanted = component.run(["out", "bound out"], inputs, config, sizes=sizes, precision=PRECISIONS["float32"])
    with computed_in(arithmetic):
        got = component.run(["out"], inputs, config, sizes=sizes)["out"]
    assert shares(to_float32(got), wanted["out"], wanted["bound out"]).max() < 0.25
