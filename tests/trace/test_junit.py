"""JUnit XML shows each scenario, and is well formed whatever a message holds."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from llorch_core.trace.junit import junit
from tests.trace.exported import SCENARIOS, trace

ALLOWED = {  # of each element, the attributes and children that readers of JUnit XML know
    "testsuites": ({"name", "tests", "failures", "errors", "time"}, {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors", "skipped", "time", "timestamp", "file"},
        {"properties", "testcase"},
    ),
    "testcase": (
        {"name", "classname", "time", "file", "line"},
        {"properties", "failure", "error", "skipped"},
    ),
    "properties": (set(), {"property"}),
    "property": ({"name", "value"}, set()),
    **dict.fromkeys(["failure", "error", "skipped"], ({"type", "message"}, set())),
}


def parsed(found=None):
    text = junit(found or trace())
    return ET.fromstring(text.encode("utf-8"))


def cases(root):
    return {(case.get("classname"), case.get("name")): case for case in root.iter("testcase")}


def values(element, name):
    return [p.get("value") for p in element.findall("properties/property") if p.get("name") == name]


def test_the_trace_that_is_exported_here_has_the_form_of_every_trace():
    schema = Path(__file__).parents[2] / "specs" / "schema" / "trace.schema.json"
    validator = jsonschema.Draft202012Validator(json.loads(schema.read_text(encoding="utf-8")))
    validator.validate(trace())
    assert {rule["status"] for rule in trace()["rules"]} >= {
        "proved",
        "failed",
        "stub",
        "untested",
        "orphaned",
    }


def test_only_elements_and_attributes_that_readers_know_are_written():
    for element in parsed().iter():
        attributes, children = ALLOWED[element.tag]
        assert set(element.attrib) == attributes
        assert {child.tag for child in element} <= children


def test_there_is_a_suite_for_each_feature_and_a_case_for_each_scenario():
    root = parsed()
    assert [suite.get("name") for suite in root] == [
        "Layer normalisation",
        "Feed-forward network",
        "Text to token ids",
    ]
    assert [len(suite.findall("testcase")) for suite in root] == [3, 2, 1]
    assert values(root[0], "engine") == ["numpy"]
    assert values(root[0], "commit") == ["d" * 40]


def test_features_that_are_mixed_are_put_together():
    mixed = trace()
    mixed["scenarios"] = mixed["scenarios"][::2] + mixed["scenarios"][1::2]
    assert [len(suite.findall("testcase")) for suite in parsed(mixed)] == [3, 2, 1]


@pytest.mark.parametrize(
    ("row", "result", "type"),
    [
        (0, None, None),
        (1, "failure", "failed"),
        (2, "error", "error"),
        (3, "failure", "stub"),
        (4, None, None),
        (5, "skipped", "not run"),
    ],
)
def test_a_scenario_has_the_result_of_its_status(row, result, type):
    case = list(cases(parsed()).values())[row]
    line, title, rules, _, message, elements = SCENARIOS[row]
    results = [child for child in case if child.tag != "properties"]
    assert [child.tag for child in results] == ([result] if result else [])
    assert case.get("name").startswith(title)
    assert (case.get("line"), case.get("time")) == (str(line), "0.250")
    assert case.get("file").startswith("features/components/")
    assert values(case, "rule") == rules
    assert values(case, "elements") == values(case, "of") == [str(elements)]
    if result:
        assert results[0].get("type") == type
        assert results[0].get("message") == message.partition("\n")[0]
        assert f"{case.get('file')}:{line}\nScenario: {title}\n  When x is [1, 2]" in results[0].text


def test_the_counts_are_those_of_the_cases():
    root = parsed()
    for element in (root, *root):
        assert int(element.get("tests")) == len(list(element.iter("testcase")))
        assert int(element.get("failures")) == len(list(element.iter("failure")))
        assert int(element.get("errors")) == len(list(element.iter("error")))
        assert (
            element.get("time") == f"{0.25 * int(element.get('tests')):.3f}"
        )  # strict readers want at most 3
    assert [suite.get("skipped") for suite in root] == ["0", "0", "1"]
    assert [root.get(name) for name in ("tests", "failures", "errors")] == ["6", "2", "1"]


def test_no_two_cases_have_the_same_name():
    names = cases(parsed())
    assert len(names) == len(SCENARIOS)
    assert ("layer_norm.Layer normalisation", "Epsilon damps a small row, line 11") in names
    assert ("mlp.Feed-forward network", "An old name") in names


def test_a_scenario_without_a_rule_is_of_the_component_that_its_file_is_named_after():
    bare = trace()
    bare["scenarios"][0]["rules"] = []
    assert next(iter(cases(parsed(bare))))[0] == "layer_norm.Layer normalisation"


def test_control_characters_are_shown_and_do_not_break_the_xml():
    (failure, _) = parsed().iter("failure")
    assert "got 2.5 & wanted <1.25>\n\\x1b[31m188 tolerances\\x1b[0m away\\x00\\xd800\\x0d\n" in failure.text


@pytest.mark.parametrize("key", ["title", "feature", "message", "text"])
def test_no_text_of_a_scenario_can_break_the_xml(key):
    nasty = trace()
    nasty["scenarios"][1][key] = "]]> <&\"'\x00\x0b\x1b[2J\ufffe\udfff\u0085 ü 😀"
    assert "\\x1b[2J" in ET.tostring(parsed(nasty), encoding="unicode")


def test_a_message_that_is_empty_gives_the_status():
    silent = trace()
    silent["scenarios"][1]["message"] = ""
    assert next(parsed(silent).iter("failure")).get("message") == "failed"


def test_what_no_repository_holds_has_no_commit():
    bare = trace()
    bare["made"]["commit"] = None
    assert values(parsed(bare)[0], "commit") == ["none"]
