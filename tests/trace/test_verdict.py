"""A rule is as good as the worst of its scenarios."""

import pytest

from llorch_core.check.compare import compare
from llorch_core.spec.suite import load_specs
from llorch_core.trace.session import Outcome
from llorch_core.trace.verdict import verdicts

RULE = "argmax.largest"


def verdict(*statuses):
    evidence = [compare("argmax.out", [1.0], [1.0]), compare("argmax.out", [1.0, 2.5], [1.0, 2.0], 1.0)]
    outcomes = [Outcome((RULE,), "a scenario", "a.feature", 3, evidence, status) for status in statuses]
    return next(v for v in verdicts(load_specs(), outcomes) if v.id == RULE)


@pytest.mark.parametrize(
    ("statuses", "wanted"),
    [
        ((), "untested"),
        (("passed",), "passed"),
        (("passed", "failed"), "failed"),
        (("failed", "error"), "error"),
        (("passed", "stub"), "stub"),
        (("not run",), "not run"),
        (("not run", "passed"), "passed"),
    ],
)
def test_the_status_of_a_rule_is_that_of_its_worst_scenario(statuses, wanted):
    assert verdict(*statuses).status == wanted


def test_elements_and_the_worst_error_are_those_of_all_scenarios():
    found = verdict("passed", "passed")
    assert found.elements == 6
    assert found.worst.share == 0.5


def test_every_rule_has_a_verdict_whether_it_was_tested_or_not():
    assert [v.id for v in verdicts(load_specs(), [])] == list(load_specs().all_rules())


def test_a_verdict_as_json_names_rule_scenarios_and_worst_error():
    found = verdict("passed").as_json()
    assert (found["rule"], found["level"], found["status"]) == (RULE, "must", "passed")
    assert found["scenarios"][0]["file"] == "a.feature"
    assert found["worst"]["share"] == 0.5
