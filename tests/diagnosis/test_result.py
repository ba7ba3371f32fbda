"""What a diagnosis says as JSON, in sentences, and of an earlier one."""

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from llorch_core.diagnosis import lookup, words
from llorch_core.diagnosis.before import progress
from llorch_core.diagnosis.result import CONFORMS, UNDECIDED, Progress
from llorch_core.spec.suite import load_specs
from tests.diagnosis.conftest import caused, compared, diagnosis, wrong

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "specs" / "schema" / "diagnosis.schema.json").read_text(encoding="utf-8"))
NONE = ()


def told(found):
    """Return the paragraphs by title, each as one text."""
    return {title: "\n".join(lines) for title, lines in words.paragraphs(found)}


def valid(found):
    report = json.loads(json.dumps(found.as_json(), allow_nan=False))
    jsonschema.Draft202012Validator(SCHEMA).validate(report)
    return report


def objects(schema):
    if isinstance(schema, dict):
        if schema.get("type") == "object" and "properties" in schema:
            yield schema
        for part in schema.values():
            yield from objects(part)
    if isinstance(schema, list):
        for part in schema:
            yield from objects(part)


# JSON


def test_the_schema_is_a_schema_and_leaves_nothing_open():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for part in objects(SCHEMA):
        if "additionalProperties" in part or "required" in part:
            assert part["additionalProperties"] is False
            assert set(part["required"]) == set(part["properties"])


@pytest.mark.parametrize(
    "found",
    [
        diagnosis(),
        diagnosis(wrong()),
        diagnosis(wrong(), wrong("h.1.mlp.out", causes=NONE), not_observed=("ln_f",), notes=("a note",)),
        diagnosis(wrong(share=float("inf"), got=float("nan"), wanted=float("-inf"))),
        diagnosis(wrong(shapes="got the shape [3, 4], wanted [3, 5]", index=(), outside=6)),
        diagnosis(wrong("logits", component="logits", harmless=True, hidden=True)),
        diagnosis(verdict=UNDECIDED, right=()),
        diagnosis(progress=Progress("gone", "fixed", diagnosis(wrong()).as_json()["first_divergence"], None)),
    ],
)
def test_json_has_the_form_of_the_schema(found):
    valid(found)


def test_json_keeps_the_keys_of_the_design():
    report = valid(diagnosis(wrong(), wrong("h.1.mlp.out"), not_observed=("ln_f",)))
    assert report["verdict"] == "diverges"
    assert report["compared"] == {"checkpoints": 6, "elements": 36, "not_observed": ["ln_f"]}
    first = report["first_divergence"]
    wanted = {"step": 0, "checkpoint": "h.1.mlp.act", "component": "mlp", "layer": 1, "index": [1, 2]}
    assert wanted.items() <= first.items()
    assert (first["got"], first["wanted"], first["outside"], first["of"]) == (1.5, 1.25, 4, 6)
    assert report["causes"] == first["causes"]
    assert {"mistake": "mlp.erf_gelu", "amount": 1.0004, "explains": 0.99996}.items() <= report["causes"][
        0
    ].items()
    assert [d["checkpoint"] for d in report["others"]] == ["h.1.mlp.out"]


@pytest.mark.parametrize(
    "change",
    [
        lambda report: report.pop("progress"),
        lambda report: report.update(verdict="wrong"),
        lambda report: report.update(more=1),
        lambda report: report["first_divergence"].update(got="a lot"),
        lambda report: report["first_divergence"].update(step=-1),
        lambda report: report["causes"][0].update(mistake="erf"),
        lambda report: report.update(first_divergence=None),
        lambda report: report.update(verdict="conforms"),
        lambda report: report.update(verdict="undecided"),
        lambda report: report.update(precision="int8"),
    ],
)
def test_the_schema_refuses_every_other_form(change):
    report = valid(diagnosis(wrong()))
    change(report)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(report)


# Sentences


def test_the_first_wrong_number_says_where_how_wrong_and_what_is_right_before_it():
    text = told(diagnosis(wrong()))["first wrong number"]
    assert "step 0, block 1, h.1.mlp.act [1, 2]: got 1.5, wanted 1.25, 312 tolerances away" in text
    assert "4 of its 6 elements are outside their tolerance" in text
    assert "everything before it conforms: 4 checkpoints, 24 elements" in text


def test_numbers_are_shown_with_the_digits_that_tell_them_apart():
    assert words.pair(1.2345678, 1.2345679) == ("1.2345678", "1.2345679")
    assert words.pair(-0.0452, -0.0448) == ("-0.0452", "-0.0448")
    assert words.pair(2.0, 2.0) == ("2", "2")


def test_the_mistake_is_told_with_its_amount_and_what_it_explains_rounded_down():
    lines = told(diagnosis(wrong()))["the mistake"].splitlines()
    assert lines[0] == (
        "mlp.erf_gelu: 1.0004 ± 0.0021 of it is in this tensor; it explains 99.99 % of the error"
    )
    assert "every element comes out as it was recorded" in lines[2]
    assert "seen in microsoft/onnxruntime#2270" in lines


def test_what_is_not_confirmed_and_what_cannot_be_told_apart_is_said():
    cause = caused(confirmed=False, same_numbers=("mlp.quick_gelu", "mlp.relu"))
    text = told(diagnosis(wrong(causes=(cause,))))["the mistake"]
    assert "not confirmed" in text
    assert "cannot be told from mlp.quick_gelu, mlp.relu" in text


def test_several_mistakes_are_told_together_and_next_names_them_all():
    found = told(diagnosis(wrong(causes=(caused(), caused("mlp.fc_bias_left_out")))))
    assert found["the mistakes"].startswith("mlp.erf_gelu")
    assert found["together with"].startswith("mlp.fc_bias_left_out")
    assert "Use the activation that the config names" in found["next"]
    assert "Add the biases of c_fc and of c_proj." in found["next"]


def test_next_prints_the_right_equation_and_the_wrong_one():
    text = told(diagnosis(wrong()))["next"]
    assert "right   act: activation(fc)" in text
    assert "tanh(sqrt(2 / pi)" in text  # what activation stands for, in a model of the default config
    assert "wrong   act: 0.5 * fc * (1 + erf(fc / sqrt(2)))" in text
    assert text.endswith("then record again, and run this command once more")


def test_every_mistake_of_the_specs_has_a_rule_and_what_it_changes():
    policies = {"gpt2.recorded_in_place", "gpt2.recording_rounds"}
    for mistake in load_specs().mistake_ids():
        assert lookup.rule(mistake), mistake
        changed = lookup.changes(mistake)
        assert all(change.right != change.wrong for change in changed), mistake
        assert bool(changed) != (mistake in policies)


def test_a_constant_is_shown_with_the_value_of_the_config():
    (change,) = lookup.changes("layer_norm.epsilon_of_bert", {"layer_norm_epsilon": 1e-6})
    assert (change.right, change.wrong) == ("1e-06, the config's layer_norm_epsilon", "1e-12")


def test_a_wrong_source_is_shown_beside_the_right_one():
    (change,) = lookup.changes("gpt2.keys_mixed")
    assert (change.right, change.wrong) == ("values = h.N.attn.values", "values = h.N.attn.keys")


def test_a_likeness_is_not_called_a_mistake():
    found = told(diagnosis(wrong(causes=(caused("signature.transposed"),))))
    assert "the mistake" not in found
    assert "only a likeness" in found["it looks like"]
    assert "memory" in found["next"]
    unknown = told(diagnosis(wrong(causes=(caused("signature.something_new"),))))
    assert "h.1.mlp.act" in unknown["next"]


def test_where_nothing_is_listed_it_says_where_to_look():
    found = told(diagnosis(wrong(causes=NONE)))
    assert "unlike anything listed" in found["the mistake"]
    assert "made by mlp of h.1.mlp.fc: act = activation(fc)" in found["the mistake"]
    assert "look at the code that makes h.1.mlp.act" in found["next"]
    assert "`llorch spec show mlp`" in found["next"]


def test_harmless_and_hidden_have_words_of_their_own():
    text = told(diagnosis(wrong("logits", component="logits", harmless=True)))["first wrong number"]
    assert "no probability can change by it" in text
    text = told(diagnosis(wrong(share=0.4, outside=0, hidden=True)))["first wrong number"]
    assert "no element alone is outside its tolerance" in text


def test_a_wrong_shape_is_told_instead_of_numbers():
    d = wrong(shapes="got the shape [3, 4], wanted [3, 5]", index=(), share=float("inf"))
    text = told(diagnosis(d))["first wrong number"]
    assert "h.1.mlp.act: got the shape [3, 4], wanted [3, 5]" in text
    assert "nan" not in text


def test_what_is_alike_is_one_line():
    others = [wrong(f"h.{n}.mlp.act", step, 100.0 + n) for step in (0, 1) for n in (1, 2, 3)]
    found = diagnosis(wrong("h.0.mlp.act"), *others, wrong("h.0.mlp.act", 1), right=("h.0.mlp.fc",))
    assert told(found)["also wrong"] == (
        "h.N.mlp.act in every block at every step: the same mistake, up to 312 tolerances away"
    )


def test_what_differs_has_lines_of_its_own_and_many_are_counted():
    names = ["ln_1", "attn.q", "attn.k", "attn.v", "attn.keys", "attn.values", "attn.scores", "attn.probs"]
    names += ["attn.context", "attn.out", "mid", "ln_2"]
    found = diagnosis(wrong("embed"), *(wrong(f"h.2.{name}", causes=NONE) for name in names))
    lines = told(found)["also wrong"].splitlines()
    assert len(lines) == words.MOST_LINES
    assert lines[0] == "h.2.ln_1: unlike anything listed, up to 312 tolerances away"
    assert lines[-1] == "and 3 more; --json lists them all"


def test_what_was_not_observed_is_named_by_blocks():
    found = diagnosis(not_observed=("h.0.attn.q", "h.1.attn.q", "h.0.mid", "ln_f", "step.1/h.1.ln_2"))
    assert told(found)["not observed"] == (
        "h.N.attn.q, h.N.mid (block 0), ln_f, step.1/h.N.ln_2 (block 1): nothing is known of them"
    )
    assert "record the checkpoints that were not observed" in told(found)["next"]


def test_conforming_names_the_element_nearest_to_its_tolerance():
    text = told(diagnosis())["conforms"]
    assert "every element that was recorded is within its tolerance" in text
    assert "step 0, embed [1, 2], 0.25 of a tolerance" in text


def test_undecided_gives_the_reason():
    found = diagnosis(verdict=UNDECIDED, right=())
    assert told(found)["could not tell"] == "nothing was recorded"
    says, facts = words.verdict_line(found)
    assert says == "my_dump.safetensors with gpt2 could not be judged"
    assert facts.endswith("exit code 2")


def test_the_texts_of_a_stranger_cannot_move_the_cursor():
    found = diagnosis(wrong(note="\x1b[2Jgone"), engine="\x1b]0;title\x07", notes=("a\nb",))
    text = "".join(told(found).values()) + words.verdict_line(found)[0]
    assert "\x1b" not in text
    assert "\\x1b[2Jgone" in text
    assert "a\\x0ab" in text


# After a fix


def moved(before, after):
    found = progress(load_specs(), valid(before), after)
    valid(replace(after, progress=found))
    return found


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (wrong("h.0.mlp.act"), wrong("h.1.mlp.act"), "later"),
        (wrong("h.0.mlp.act"), wrong("h.0.mlp.out"), "later"),
        (wrong("embed"), wrong("h.0.ln_1"), "later"),
        (wrong("h.1.out"), wrong("ln_f"), "later"),
        (wrong("logits"), wrong("embed", 1), "later"),
        (wrong("h.1.mlp.act"), wrong("h.0.mlp.act"), "earlier"),
        (wrong("embed", 1), wrong("logits"), "earlier"),
        (wrong("h.1.mlp.act"), wrong("h.1.mlp.act"), "same"),
        (wrong("h.1.mlp.act"), None, "gone"),
        (None, wrong("h.1.mlp.act"), "new"),
        (None, None, "same"),
    ],
)
def test_only_a_later_first_wrong_number_is_progress(before, after, verdict):
    everything = ("embed", "h.0.ln_1", "h.0.mlp.act", "h.1.out", "h.1.mlp.act", "logits")
    right = [compared(name, step) for name in everything for step in (0, 1)]
    old, new = (diagnosis(*([d] if d else []), right=()) for d in (before, after))
    new = replace(new, comparisons=(*right, *new.comparisons))
    found = moved(old, new)
    assert found.verdict == verdict
    assert (found.before is None, found.after is None) == (before is None, after is None)


def test_another_mistake_at_the_same_place_is_said():
    found = moved(diagnosis(wrong()), diagnosis(wrong(causes=(caused("mlp.relu"),))))
    assert found.verdict == "same"
    assert "was mlp.erf_gelu, is mlp.relu" in found.text


def test_a_checkpoint_that_is_recorded_no_more_is_no_progress():
    found = moved(diagnosis(wrong()), diagnosis(right=("embed",)))
    assert found.verdict == "unknown"
    assert "step 0, h.1.mlp.act was wrong, and is not recorded this time" in found.text


def test_where_nothing_can_be_told_now_nothing_is_told_of_progress():
    assert moved(diagnosis(wrong()), diagnosis(verdict=UNDECIDED, right=())).verdict == "unknown"


def test_the_first_of_any_sequence_counts():
    found = moved(
        diagnosis(wrong("logits"), wrong("embed", sequence=1)), diagnosis(wrong("logits"), right=("embed",))
    )
    assert found.verdict == "later"


def test_progress_is_part_of_what_is_told():
    found = replace(diagnosis(), progress=Progress("gone", "fixed: it is gone", None, None))
    assert told(found)["since then"] == "fixed: it is gone"
    assert found.verdict == CONFORMS
    assert found.exit_code == 0
