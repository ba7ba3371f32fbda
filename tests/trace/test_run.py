"""The runner believes no scenario that did not compare, and counts those that it did not run."""

import subprocess
import sys
from pathlib import Path

import pytest

from llorch_core.spec.suite import load_specs, suite_folder
from llorch_core.subject.numpy_engine import NumpyEngine
from llorch_core.subject.spec_engine import SpecEngine
from llorch_core.trace.run import count_scenarios, run_features
from llorch_core.trace.session import Session
from llorch_core.trace.verdict import verdicts

ROOT = Path(__file__).parents[2]


@pytest.fixture
def house(tmp_path, copy_house):
    """A copy of features, steps and package, into which a test plants something; returns how to run it."""
    copy_house(tmp_path)

    def run(feature, steps="", *arguments):
        (tmp_path / "features" / "planted.feature").write_text(feature)
        (tmp_path / "steps" / "planted.py").write_text("from behave import given, when, then\n" + steps)
        command = [sys.executable, "-m", "llorch_core", "verify", "--json", "--jobs", "1", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)

    return run


def outcomes(folder, component, mistake=None):
    subject = SpecEngine(load_specs(), folder, mistake) if mistake else NumpyEngine(folder)
    return run_features(Session(subject), component)


def test_the_scenarios_of_one_component_are_those_with_its_tags(tiny_folder):
    ran = outcomes(tiny_folder(), "argmax")
    assert [o.rules for o in ran] == [("argmax.largest",), ("argmax.lowest_id_of_equals",)]
    assert len(ran) == count_scenarios("argmax")


def test_every_scenario_is_told_when_it_has_ended(tiny_folder):
    ended = []
    run_features(Session(NumpyEngine(tiny_folder())), "top_k", ended.append)
    assert len(ended) == count_scenarios("top_k") == 5


def test_a_right_engine_passes_and_leaves_evidence(tiny_folder):
    for outcome in outcomes(tiny_folder(), "layer_norm"):
        assert outcome.status == "passed"
        assert sum(c.elements for c in outcome.evidence) > 0


def test_a_mistake_fails_the_rule_that_claims_to_catch_it(tiny_folder):
    ran = outcomes(tiny_folder(), "layer_norm", "layer_norm.sample_variance")
    found = {v.id: v.status for v in verdicts(load_specs(), ran, "layer_norm")}
    assert found["layer_norm.population_variance"] == "failed"
    assert found["layer_norm.each_position_alone"] == "failed"


def test_the_message_of_a_failure_says_where_got_and_wanted(tiny_folder):
    ran = outcomes(tiny_folder(), "argmax", "argmax.last_of_equals")
    (failed,) = [o for o in ran if o.status == "failed"]
    assert "argmax.out [0]: got 4, wanted 1" in failed.message
    assert failed.file.endswith("choice.feature")


def test_what_others_did_not_record_is_not_run_and_named(tiny_folder):
    ran = [o for o in outcomes(tiny_folder(), "gpt2") if "gpt2.others_agree" in o.rules]
    assert {o.status for o in ran} == {"not run"}
    assert "reference.safetensors" in ran[0].message


def test_a_scenario_that_compares_nothing_is_a_stub(house):
    feature = "Feature: F\n  @argmax.largest\n  Scenario: Nothing\n    Then nothing happens\n"
    ran = house(feature, '@then("nothing happens")\ndef step(context):\n    pass\n', "--component", "argmax")
    assert ran.returncode == 1
    assert '"status": "stub"' in ran.stdout
    assert "without comparing a single element" in ran.stdout


def test_a_scenario_without_steps_is_a_stub(house):
    ran = house("Feature: F\n  @argmax.largest\n  Scenario: Empty\n", "", "--component", "argmax")
    assert ran.returncode == 1
    assert '"status": "stub"' in ran.stdout


def test_a_tag_without_a_rule_is_orphaned(house):
    feature = (
        "Feature: F\n  @argmax.no_such_rule\n  Scenario: S\n"
        "    When argmax is given logits = [1, 2]\n    Then it returns [1]\n"
    )
    ran = house(feature, "", "--component", "argmax")
    assert ran.returncode == 1
    assert '"status": "orphaned"' in ran.stdout


def test_a_step_that_nobody_wrote_is_our_own_bug_and_decides_nothing(house):
    feature = "Feature: F\n  @argmax.largest\n  Scenario: S\n    When somebody dreams\n"
    ran = house(feature, "", "--component", "argmax")
    assert ran.returncode == 2
    assert "no step is written for" in ran.stdout


def test_an_example_that_contradicts_the_equations_is_our_own_bug(house):
    feature = (
        "Feature: F\n  @argmax.largest\n  Scenario: S\n"
        "    When argmax is given logits = [1, 2, 0]\n    Then it returns [0]\n"
    )
    ran = house(feature, "", "--component", "argmax")
    assert ran.returncode == 2
    assert "the equations do not give the numbers of the example" in ran.stdout


def test_the_suite_of_a_checkout_is_the_checkouts():
    assert suite_folder() == ROOT
