"""A spec that is not well-formed, is false, or says nothing cannot enter: file, line, and what to do."""

import re

import pytest

from llorch_core.spec.component import read_component
from llorch_core.spec.errors import SpecError
from llorch_core.spec.suite import load_specs, suite_folder
from llorch_core.spec.trial import check_component, samples

SCHEMAS = suite_folder() / "specs" / "schema"
CARD = """\
id: scaled
title: A scaled sum
purpose: Add two tensors and scale them.
source: ["by hand"]
inputs:
  x: {shape: [T, n_embd], meaning: one}
  y: {shape: [T, n_embd], meaning: two}
constants:
  factor: 3
equations:
  both: x + y
  out:  factor * both
output: {out: [T, n_embd]}
tolerance:
  bound: 8 * eps * (abs(x) + abs(y)) * factor
  why:   one addition and one product
conditions:
  several_rows:
    holds: T >= 3
    why:   one row hides the others
rules:
  adds:
    must:    Add both.
    source:  by hand
    catches: [one_only]
  scales:
    must:    Scale the sum.
    source:  by hand
    catches: [unscaled]
mistakes:
  one_only:
    instead: {both: x}
    symptom: y is not there
  unscaled:
    instead: {factor: 1}
    symptom: too small
"""


def load(folder, text):
    path = folder / "scaled.yaml"
    path.write_text(text)
    component = read_component(path, SCHEMAS, load_specs().components)
    check_component(component, load_specs().defaults)
    return component


def test_a_true_spec_enters(tmp_path):
    component = load(tmp_path, CARD)
    assert component.rules["adds"].catches == ("scaled.one_only",)
    out = component.run(["out"], {"x": [[1.0, 2.0]], "y": [[3.0, 5.0]]}, {})["out"]
    assert out.tolist() == [[12.0, 21.0]]


# what is changed in the card, what it becomes, and what the error says; the line is that of the change
FALSE = {
    "declared shape": ("output: {out: [T, n_embd]}", "output: {out: [T, n_inner]}", "has the shape [5, 33], but the spec declares [T, n_inner] = [5, 37]"),
    "unused input": ("  both: x + y", "  both: x + x", "y is never used"),
    "unused constant": ("  factor: 3", "  factor: 3\n  other: 4", "other is never used"),
    "unused equation": ("  both: x + y", "  both: x + y\n  half: x / 2", "half is never used"),
    "name of a function": ("  both: x + y\n  out:  factor * both", "  sum: x + y\n  out:  factor * sum", "sum is already a function"),
    "name of a size": ("  factor: 3\nequations:\n  both: x + y\n  out:  factor * both", "  T: 3\nequations:\n  both: x + y\n  out:  T * both", "does not match"),
    "name of an input": ("  factor: 3", "  factor: 3\n  x: 4", "x is already one of the inputs"),
    "unknown name": ("  both: x + y", "  both: x + y + z", "z in 'x + y + z' is not known here"),
    "later name": ("  both: x + y", "  both: x + y + 0 * out", "out in 'x + y + 0 * out' is not known here"),
    "unknown function": ("  both: x + y", "  both: x + open(y)", "open in 'x + open(y)' is not a function"),
    "no equation": ("  both: x + y", "  both: x.T + y", "x.T in 'x.T + y' is not allowed"),
    "mistake without effect": ("{both: x}", "{both: y + x}", "one_only changes nothing"),
    "mistake under the tolerance": ("{both: x}", "{both: x + y * 1.000001}", "one_only slips under the tolerance"),
    "mistake of another shape": ("{both: x}", "{both: 'concat(x, y)'}", "one_only gives out the shape [10, 33]"),
    "mistake in nothing": ("{both: x}", "{sum_of_both: x}", "sum_of_both is neither an equation nor a constant"),
    "mistake that reads what follows": ("{both: x}", "{both: out}", "out in 'out' is not known here"),
    "mistake that nobody catches": ("    catches: [unscaled]", "    catches: [one_only]", "no rule catches unscaled"),
    "unknown mistake": ("    catches: [unscaled]", "    catches: [unscaled, nothing]", "scales catches nothing, which is not a mistake"),
    "rule that catches nothing": ("    catches: [unscaled]", "    catches: []", "should be non-empty"),
    "rule without source": ("    source:  by hand\n    catches: [unscaled]", "    catches: [unscaled]", "source"),
    "rule without a level": ("    must:    Scale the sum.", "    text:    Scale the sum.", "text"),
    "not a number": ("  out:  factor * both", "  out:  factor * both * (0 / (x - x))", "out is NaN"),
    "negative tolerance": ("  bound: 8 * eps", "  bound: 0 - 8 * eps", "is not a finite number"),
    "tolerance of another shape": ("  bound: 8 * eps * (abs(x) + abs(y)) * factor", "  bound: eps * arange(T)", "does not fit"),
    "unknown key": ("title: A scaled sum", "title: A scaled sum\nversion: 2", "version"),
    "other id": ("id: scaled", "id: scale", "the id is scale, but the file is scaled.yaml"),
    "number as text": ("  factor: 3", "  factor: 1e-5", "1e-5"),
    "output without equation": ("output: {out: [T, n_embd]}", "output: {out: [T, n_embd], more: [T]}", "the output more has no equation"),
    "use of nothing": ("constants:", "uses: [nothing]\nconstants:", "uses nothing, which is not a component"),
    "use without a call": ("constants:", "uses: [activation]\nconstants:", "uses activation, but no equation calls it"),
}  # fmt: skip


@pytest.mark.parametrize("what", FALSE)
def test_a_false_spec_is_refused_with_file_and_line(tmp_path, what):
    right, wrong, named = FALSE[what]
    assert CARD.count(right) == 1
    with pytest.raises(SpecError) as caught:
        load(tmp_path, CARD.replace(right, wrong))
    message = str(caught.value)
    assert re.match(r".*scaled\.yaml:\d+: ", message)
    assert any(part in message for part in named.split("|")), message


def test_the_line_of_an_error_is_the_line_of_the_fault(tmp_path):
    with pytest.raises(SpecError, match=r"scaled\.yaml:11: z in"):
        load(tmp_path, CARD.replace("  both: x + y", "  both: x + z + y"))


def test_a_mistake_is_named_in_the_error_that_refuses_it(tmp_path):
    with pytest.raises(SpecError, match=r"scaled\.yaml:31: one_only changes nothing"):
        load(tmp_path, CARD.replace("{both: x}", "{both: y + x}"))


def test_inputs_of_another_shape_are_refused_with_both_shapes(tmp_path):
    component = load(tmp_path, CARD)
    with pytest.raises(SpecError, match=r"y is \[1, 3\], wanted \[T, n_embd\] = \[1, 2\]"):
        component.run(["out"], {"x": [[1.0, 2.0]], "y": [[3.0, 5.0, 1.0]]}, {})


def test_what_is_known_already_is_taken_as_given(tmp_path):
    component = load(tmp_path, CARD)
    inputs = {"x": [[1.0]], "y": [[2.0]]}
    assert component.run(["out"], inputs, {}, given={"both": [[10.0]]})["out"].tolist() == [[30.0]]


def test_a_mistake_is_made_where_it_is_asked_for(tmp_path):
    component = load(tmp_path, CARD)
    inputs = {"x": [[1.0]], "y": [[2.0]]}
    assert component.run(["out"], inputs, {}, mistake="one_only")["out"].tolist() == [[3.0]]
    assert component.run(["out"], inputs, {}, mistake="unscaled")["out"].tolist() == [[3.0]]


def test_samples_are_the_same_each_time_and_others_for_each_draw():
    component = load_specs().components["layer_norm"]
    first, again, other = samples(component, 0), samples(component, 0), samples(component, 1)
    assert (first["x"] == again["x"]).all()
    assert not (first["x"] == other["x"]).any()


def test_samples_have_rows_of_very_different_spread():
    deviations = samples(load_specs().components["layer_norm"], 0)["x"].std(axis=-1)
    assert deviations.max() / deviations.min() > 3


def test_samples_for_a_choice_have_equal_winners():
    for draw in range(4):
        logits = samples(load_specs().components["argmax"], draw)["logits"]
        assert (logits == logits.max()).sum() == 3


def test_every_case_of_the_activation_is_an_equation():
    cases = load_specs().components["activation"].cases["equation"]
    assert set(cases) == {"gelu_new", "gelu", "gelu_fast", "quick_gelu", "relu", "silu", "tanh"}


def test_an_activation_that_no_spec_knows_is_refused():
    component = load_specs().components["activation"]
    with pytest.raises(SpecError, match="no equation for activation_function = 'swiglu'"):
        component.run(["out"], {"x": [[1.0]]}, {"activation_function": "swiglu"})


def test_a_condition_that_the_samples_do_not_meet_is_refused(tmp_path):
    with pytest.raises(
        SpecError, match=r"the samples prove nothing: its data do not meet scaled\.several_rows"
    ):
        load(tmp_path, CARD.replace("holds: T >= 3", "holds: T >= 300"))


def test_a_condition_that_reads_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(SpecError, match="z in 'z > 0' is not known here"):
        load(tmp_path, CARD.replace("holds: T >= 3", "holds: z > 0"))


def test_an_example_is_degenerate_where_a_condition_does_not_hold_for_every_element(tmp_path):
    path = tmp_path / "scaled.yaml"
    path.write_text(CARD.replace("holds: T >= 3", "holds: x > y"))
    component = read_component(path, SCHEMAS, {})
    right = {"x": [[3.0, 2.0]], "y": [[1.0, 1.0]]}
    wrong = {"x": [[3.0, 1.0]], "y": [[1.0, 1.0]]}
    assert component.degenerate(right, {}, 0, {}) is None
    assert "scaled.several_rows, x > y: one row hides the others" in component.degenerate(wrong, {}, 0, {})
