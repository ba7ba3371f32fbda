"""Problems as SARIF hold what GitHub documents that code scanning needs."""

import json
import re
from pathlib import Path

import pytest

from llorch_core.gate.sarif import sarif

KINDS = {
    "failed": "The engine does not do what a rule demands.",
    "missed mistake": "A mistake was put on trial and nothing noticed it.",
    "line without rule": "A line of the engine is run by no scenario of any rule.",
}


def problem(kind="failed", what="mlp.shape", file="features/mlp.feature", line=7, says="it is wrong", **more):
    return {
        "kind": kind,
        "what": what,
        "file": file,
        "line": line,
        "says": says,
        "next": "Correct it.",
        **more,
    }


PROBLEMS = [
    problem(),
    problem("missed mistake", "mlp.shape", "specs/components/mlp.yaml", 40, "mlp.relu was missed"),
    problem("missed mistake", "mlp.shape", "specs/components/mlp.yaml", 40, "mlp.quick_gelu was missed"),
    problem("line without rule", "the engine.py", "the engine.py", 9, "nothing runs line 9", level="warning"),
    problem(file="features/mlp.feature", line=None, level="note"),
    problem(file=None, line=None),
    problem(file="/somewhere/else/mlp.feature", line=3),
    problem(file="../mlp.feature", line=3),
    problem(file=str(Path.cwd() / "features" / "mlp.feature"), line=8, says="it is wrong"),
]


def run(problems=PROBLEMS, tool="llorch gate"):
    log = json.loads(json.dumps(sarif(tool, KINDS, problems), allow_nan=False))
    assert log["$schema"] == "https://json.schemastore.org/sarif-2.1.0.json"
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    return run


def place(result):
    (location,) = result["locations"]
    return location["physicalLocation"]


def fingerprints(problems):
    return [result["partialFingerprints"]["llorch/v1"] for result in run(problems)["results"]]


def test_every_kind_is_a_rule_with_a_stable_id_and_help_whether_it_was_found_or_not():
    for found in (run(), run([])):
        assert found["tool"]["driver"]["name"] == "llorch gate"
        rules = found["tool"]["driver"]["rules"]
        assert [rule["id"] for rule in rules] == ["failed", "missed-mistake", "line-without-rule"]
        for rule, text in zip(rules, KINDS.values(), strict=True):
            assert 0 < len(rule["shortDescription"]["text"]) <= 1024
            assert rule["fullDescription"]["text"] == rule["help"]["text"] == text
            assert rule["defaultConfiguration"]["level"] == "error"
            assert len(rule["properties"]["tags"]) <= 10
    assert run([])["results"] == []


def test_every_result_has_what_code_scanning_needs():
    found = run()
    assert len(found["results"]) == len(PROBLEMS)
    for result, given in zip(found["results"], PROBLEMS, strict=True):
        assert found["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["ruleId"] == given["kind"].replace(" ", "-")
        assert result["level"] == given.get("level", "error")
        assert result["level"] in ("error", "warning", "note")
        assert result["message"]["text"].startswith(f"{given['what']}: {given['says']}")
        assert result["message"]["text"].endswith("\nCorrect it.")
        at = place(result)
        assert at["artifactLocation"]["uriBaseId"] in found["originalUriBaseIds"]
        assert re.fullmatch(r"[A-Za-z0-9_%.-]+(/[A-Za-z0-9_%.-]+)*", at["artifactLocation"]["uri"])
        assert ".." not in at["artifactLocation"]["uri"].split("/")
        assert at["region"]["startLine"] >= 1
        assert all(result["partialFingerprints"].values())


@pytest.mark.parametrize(
    ("given", "uri", "line"),
    [
        (PROBLEMS[0], "features/mlp.feature", 7),
        (PROBLEMS[3], "the%20engine.py", 9),
        (PROBLEMS[4], "features/mlp.feature", 1),
        (problem(line=0), "features/mlp.feature", 1),
        (PROBLEMS[5], "pyproject.toml", 1),
        (PROBLEMS[6], "pyproject.toml", 1),
        (PROBLEMS[7], "pyproject.toml", 1),
        (PROBLEMS[8], "features/mlp.feature", 8),
    ],
)
def test_a_problem_is_shown_in_its_file_and_elsewhere_only_where_that_is_not_of_the_repository(
    given, uri, line
):
    (result,) = run([given])["results"]
    assert place(result)["artifactLocation"]["uri"] == uri
    assert place(result)["region"] == {"startLine": line}
    named = given["file"] and uri == "pyproject.toml"
    assert (f"\nIn {given['file']}.\n" in result["message"]["text"]) == bool(named)


def test_a_fingerprint_survives_a_shift_of_lines_and_another_measurement():
    first = [problem(says="got 2.5 at [1, 2]"), problem(what="features/mlp.feature:7", line=7)]
    later = [problem(says="got 31.25 at [10, 0]", line=99), problem(what="features/mlp.feature:99", line=99)]
    assert fingerprints(first) == fingerprints(later)


@pytest.mark.parametrize(
    "change",
    [{"kind": "missed mistake"}, {"what": "mlp.size"}, {"file": "a.feature"}, {"says": "it is late"}],
)
def test_another_problem_has_another_fingerprint(change):
    assert fingerprints([problem()]) != fingerprints([problem(**change)])


def test_no_two_results_have_the_same_fingerprint():
    twins = [problem(), problem(line=8), problem()]
    assert len(set(fingerprints([*PROBLEMS, *twins]))) == len(PROBLEMS) + len(twins)


def test_only_a_result_without_a_line_brings_the_fingerprint_that_github_takes_from_the_line():
    ours = ["primaryLocationLineHash" in result["partialFingerprints"] for result in run()["results"]]
    assert ours == [False, False, False, False, True, True, True, True, False]


def test_a_message_cannot_move_the_cursor_or_break_the_encoding():
    (result,) = run([problem(says="got ∞ \x1b[2J \ud800")])["results"]
    assert result["message"]["text"] == "mlp.shape: got ∞ \\x1b[2J \\xd800\nCorrect it."


def test_two_tools_are_kept_apart():
    gate, stubs = run(), run(tool="llorch stubs")
    assert gate["automationDetails"] == {"id": "llorch-gate/"}
    assert stubs["automationDetails"] == {"id": "llorch-stubs/"}


def test_a_kind_that_is_not_declared_is_an_error():
    with pytest.raises(ValueError, match="unheard"):
        sarif("llorch gate", KINDS, [problem("unheard")])
