"""The gate tests itself: what is planted turns it red, for its reason and for no other."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import date

import pytest

from llorch_core.cli import main
from llorch_core.gate.gate import Judgement, _coverage, _of_trace, _tests, judge
from llorch_core.gate.policy import read_policy
from llorch_core.gate.reasons import KINDS, Reason, worst_first
from llorch_core.spec.suite import load_specs
from tests.commands import llorch

NOTHING = """
@then("nobody looks at anything")
def nothing(context):
    context.looked = context.session.subject.name
"""
STEPS = f'''"""Planted."""

import numpy as np
from behave import then

from llorch_core.check.compare import compare
from llorch_core.trace.session import NotHereError
from tests.commands import llorch

{NOTHING}

@then("a tensor is compared with itself")
def itself(context):
    x = np.arange(6.0) + len(context.session.subject.name)
    context.session.note([compare("x", x, x[:])])


@then("a machine with a quantum coprocessor agrees")
def absent(context):
    raise NotHereError("a quantum coprocessor")
'''
FEATURE = """
  @layer_norm.centred
  Scenario: Planted, nothing is compared
    Then nobody looks at anything

  @layer_norm.centred
  Scenario: Planted, one buffer on both sides
    Then a tensor is compared with itself

  @layer_norm.centred
  Scenario: Planted, another component is run
    When argmax is given logits = [1, 2, 0]
    Then it returns [1]

  @residual.stream_kept
  Scenario: Planted, a tag that is no rule
    When residual is given
      | input  | value     |
      | stream | [1, 2, 3] |
      | branch | [4, 5, 7] |
    Then it returns [5, 7, 10]

  @layer_norm.centred
  Scenario: Planted, something is not here
    Then a machine with a quantum coprocessor agrees
"""


def told(reasons):
    return {(r["kind"], r["what"]) for r in reasons}


def new(house, committed, *arguments):
    """Return what the gate says of a house that it does not say of the one without the change."""
    code, reasons = house.gate(*arguments)
    before = told(committed.reasons)
    return code, [r for r in reasons if (r["kind"], r["what"]) not in before]


def test_nothing_but_what_this_small_house_lacks_speaks_against_it(committed):
    reasons = committed.reasons
    assert {r["kind"] for r in reasons} == {"untested"}  # it has three features of twenty
    assert not {r["what"].partition(".")[0] for r in reasons} & {"layer_norm", "residual", "argmax", "top_k"}


def test_an_engine_that_is_wrong_turns_it_red(house, committed):
    house.change("llorch_core/engine/layers.py", "    variance = ", "    variance = 1.01 * ")
    house.commit()
    assert house.prove().returncode == 1
    code, reasons = new(house, committed)
    assert code == 1
    assert {r["kind"] for r in reasons} == {"failed"}
    assert "layer_norm.population_variance" in {r["what"] for r in reasons}
    assert {r["what"].partition(".")[0] for r in reasons} == {"layer_norm"}
    assert reasons[0]["file"] == "features/components/layer_norm.feature"


def test_stubs_of_every_kind_turn_it_red(house, committed):
    (house.folder / "steps" / "planted.py").write_text(STEPS)
    house.append("features/components/layer_norm.feature", FEATURE)
    house.commit()
    house.prove()
    code, reasons = new(house, committed)
    assert code == 1
    by_rule = {(r["kind"], r["what"]): r["says"] for r in reasons}
    assert ("stub", "layer_norm.centred") in by_rule
    assert ("not run", "layer_norm.centred") in by_rule
    assert "quantum coprocessor" in by_rule["not run", "layer_norm.centred"]
    assert ("orphaned", "residual.stream_kept") in by_rule
    trace = json.loads(house.run("trace", "--json").stdout)
    statuses = {
        s["title"]: (s["status"], s["message"]) for s in trace["scenarios"] if "Planted" in s["title"]
    }
    assert statuses["Planted, nothing is compared"][0] == "stub"
    assert statuses["Planted, one buffer on both sides"][0] == "stub"
    assert "one buffer" in statuses["Planted, one buffer on both sides"][1]
    idle = statuses["Planted, another component is run"]
    assert idle == ("stub", "it never ran the code of layer_norm: llorch_core/engine/layers.py")


def test_a_step_that_cannot_fail_turns_it_red_before_anything_runs(house, committed):
    step = '@then("everything went well")\ndef well(context):\n    assert True\n'
    house.append("steps/components.py", f"\n\n{step}")
    house.commit()
    house.prove()
    code, reasons = new(house, committed)
    assert code == 1
    assert [r["kind"] for r in reasons] == ["cannot fail"]
    assert reasons[0]["file"] == "steps/components.py"


def test_lines_that_no_scenario_runs_turn_it_red(house, committed):
    share = json.loads(committed.run("trace", "--json").stdout)["totals"]
    floor = 100 * share["lines_run"] / share["lines"] - 0.01
    house.change("pyproject.toml", "rules = 0", f"rules = {floor:.3f}")
    assert [r for r in new(house, committed)[1] if r["kind"] == "coverage"] == []
    lines = "".join(f"    x = x + {i}\n" for i in range(8))
    house.append("llorch_core/engine/layers.py", f"\n\ndef idle(x):\n{lines}    return x\n")
    house.commit()
    house.prove()
    code, reasons = new(house, committed)
    assert code == 1
    assert [(r["kind"], r["what"]) for r in reasons] == [("coverage", "engine")]


def test_a_feature_that_was_emptied_turns_it_red(house, committed):
    path = house.folder / "features" / "components" / "residual.feature"
    path.write_text("Feature: The residual stream\n")
    house.commit()
    house.prove()
    code, reasons = new(house, committed)
    assert code == 1
    assert {r["kind"] for r in reasons} == {"untested", "lost", "without rule"}
    assert {r["what"].partition(".")[0] for r in reasons if r["kind"] != "without rule"} == {"residual"}
    assert [r["what"] for r in reasons if r["kind"] == "without rule"] == [
        "features/components/residual.feature"
    ]
    (lost, *_) = [r for r in reasons if r["kind"] == "lost"]
    assert "A change" in lost["says"]


def test_a_spec_that_is_false_lets_nothing_be_told(house):
    house.change(
        "specs/components/layer_norm.yaml", "variance: mean((x - centre)**2)", "variance: centre - x"
    )
    house.commit()
    assert house.prove().returncode == 2
    ran = house.run("gate")
    assert ran.returncode == 2
    assert "layer_norm.yaml" in ran.stderr


def test_a_proof_that_was_tampered_with_turns_it_red(house):
    path = house.folder / "proof" / "evidence" / "components" / "layer_norm.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"outside":0', b'"outside":1', 1))
    code, reasons = house.gate()
    assert code == 1
    assert [r["kind"] for r in reasons] == ["tampered"]
    assert reasons[0]["what"] == "evidence/components/layer_norm.jsonl"


def test_a_proof_of_other_code_turns_it_red(house, committed):
    house.append("llorch_core/engine/layers.py", "\n# another line\n")
    code, reasons = new(house, committed)
    assert code == 1
    assert "other tree" in {r["kind"] for r in reasons}
    assert {r["kind"] for r in reasons} == {"other tree", "stale"}


def test_a_tree_with_changes_turns_it_red_unless_that_is_allowed(house, committed):
    house.append("features/components/residual.feature", "\n# a word\n")
    house.prove()
    code, reasons = new(house, committed)
    assert code == 1
    assert [(r["kind"]) for r in reasons] == ["dirty tree"]
    assert "residual.feature" in reasons[0]["says"]
    assert new(house, committed, "--allow-dirty")[1] == []


def test_what_must_be_proved_and_was_not_put_on_trial_turns_it_red(house, committed):
    house.change("pyproject.toml", "proved = []", 'proved = ["must"]')
    house.change("pyproject.toml", "mistakes = 0", "mistakes = 100")
    house.change("pyproject.toml", "elements = 0", "elements = 100")
    code, reasons = new(house, committed)
    assert code == 1
    assert {"unproved", "missed mistake", "not compared"} == {r["kind"] for r in reasons}


def test_without_data_of_coverage_a_floor_is_not_met(house, committed):
    house.change("pyproject.toml", "package = { line = 0", "package = { line = 1")
    _, reasons = new(house, committed)
    assert [(r["kind"], r["what"]) for r in reasons] == [("coverage", ".coverage")]


# Allowances and floors, on traces that are made up


RULE, TITLE = "layer_norm.centred", "Something is not here"


def trace_of(status="not run", **totals):
    """A trace with one rule, one scenario, and the totals of a run in which all is well."""
    scenario = {"title": TITLE, "status": status, "rules": [RULE], "message": "a machine of the future"}
    rule = {"rule": RULE, "level": "must", "status": "proved", "says": "It must.", "why": "", "file": None}
    well = {
        "rules": 1,
        "statuses": {"proved": 1},
        "mistakes": 2,
        "caught": 2,
        "tried": 2,
        "elements": 9,
        "of": 9,
    }
    return {
        "components": [{"id": "layer_norm"}, {"id": "mlp"}],
        "rules": [{**rule, "line": None}],
        "scenarios": [{**scenario, "file": "f.feature", "line": 3}],
        "problems": [],
        "code": [{"file": "llorch_core/engine/layers.py"}],
        "totals": {**well, "lines": 100, "lines_run": 90, **totals},
    }


def policy_of(tmp_path, text=""):
    (tmp_path / "pyproject.toml").write_text(f"[tool.llorch.gate]\n{text}")
    return read_policy(tmp_path / "pyproject.toml")


def speak_against(policy, trace):
    found = [reason for _, _, against in _of_trace(policy, trace, date(2030, 6, 1)) for reason in against]
    return [reason.kind for reason in found]


@pytest.mark.parametrize(
    ("allowance", "kinds"),
    [
        (f'rule = "{RULE}"\nexpires = 2030-06-01', []),
        ('rule = "layer_norm.*"\nexpires = 2030-06-01', []),
        (f'rule = "{RULE}"\nscenario = "{TITLE}"\nexpires = 2999-01-01', []),
        (f'rule = "{RULE}"\nexpires = 2030-05-31', ["not run"]),
        (f'rule = "{RULE}"\nscenario = "Another"\nexpires = 2999-01-01', ["not run", "allowance"]),
        ('rule = "argmax.*"\nexpires = 2999-01-01', ["not run", "allowance"]),
        ('rule = "layer_norm_of_another.centred"\nexpires = 2999-01-01', ["not run", "allowance"]),
    ],
)
def test_what_is_not_run_needs_a_name_a_reason_and_a_day(tmp_path, allowance, kinds):
    text = f'[[tool.llorch.gate.not_run]]\nreason = "a machine of the future"\n{allowance}\n'
    assert speak_against(policy_of(tmp_path, text), trace_of()) == kinds


def test_an_allowance_for_what_was_run_is_one_too_many(tmp_path):
    text = f'[[tool.llorch.gate.not_run]]\nreason = "it is away"\nrule = "{RULE}"\nexpires = 2999-01-01\n'
    assert speak_against(policy_of(tmp_path, text), trace_of("passed")) == ["allowance"]


@pytest.mark.parametrize(
    ("totals", "text", "kinds"),
    [
        ({}, "", []),
        ({"caught": 1}, "", ["missed mistake"]),
        ({"caught": 1}, "mistakes = 50", []),
        ({"elements": 8}, "", ["not compared"]),
        ({"elements": 8}, "elements = 88", []),
    ],
)
def test_mistakes_and_elements_are_counted_in_percent(tmp_path, totals, text, kinds):
    assert speak_against(policy_of(tmp_path, text), trace_of("passed", **totals)) == kinds


@pytest.mark.parametrize(
    ("status", "level", "kinds"),
    [
        ("proved", "must", []),
        ("not run", "must", []),  # what is not run has its own demand
        ("passed", "must", ["unproved"]),
        ("passed", "should", []),
        ("failed", "may", ["failed"]),
        ("stale", "should", ["stale"]),
        ("orphaned", None, ["orphaned"]),
    ],
)
def test_what_must_be_proved_is_and_nothing_fails(tmp_path, status, level, kinds):
    trace = trace_of("passed")
    trace["rules"][0].update(status=status, level=level)
    assert speak_against(policy_of(tmp_path), trace) == kinds


def test_problems_of_a_trace_are_reasons_where_no_status_says_them(tmp_path):
    trace = trace_of("passed")
    for kind in ("lost", "duplicate", "line without rule"):
        problem = {"kind": kind, "what": RULE, "file": None, "line": None, "says": "so", "next": "then"}
        trace["problems"].append(problem)
    assert speak_against(policy_of(tmp_path), trace) == ["lost", "duplicate"]


def test_floors_of_coverage_are_asked_of_lines_branches_and_rules(tmp_path):
    (tmp_path / "llorch_core" / "engine").mkdir(parents=True)
    (tmp_path / "llorch_core" / "engine" / "half.py").write_text(
        "def f(x):\n    if x:\n        return 1\n    return 2\n\n\nf(1)\n"
    )
    command = [
        sys.executable,
        "-m",
        "coverage",
        "run",
        "--branch",
        "--source=.",
        "llorch_core/engine/half.py",
    ]
    plain = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE")}
    subprocess.run(command, cwd=tmp_path, env=plain, check=True, timeout=120)

    def against(text):
        return [
            r.what
            for r in _coverage(policy_of(tmp_path, f"[tool.llorch.gate.coverage]\n{text}"), trace_of())[2]
        ]

    low = "package = { line = 80, branch = 50 }\nengine = { line = 80, branch = 50 }\n"
    assert against(low) == []
    assert against(f"{low}rules = 90") == []
    assert against(f"{low}rules = 91") == ["engine"]
    assert (
        against(low.replace("line = 80, branch = 50 }\nengine", "line = 81, branch = 51 }\nengine"))
        == ["package"] * 2
    )
    assert against(f'{low}data = "nowhere"') == ["nowhere"]


def test_tests_that_cannot_fail_speak_against_a_merge(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_x.py").write_text(
        "def test_a():\n    pass\n\n\ndef test_b():\n    assert int('3') == 3\n"
    )
    reasons = _tests(policy_of(tmp_path))[2]
    assert [(r.file, r.line, r.what) for r in reasons] == [("tests/test_x.py", 1, "test_a")]
    (tmp_path / "tests" / "test_x.py").write_text("def test_(:\n")
    assert [r.kind for r in _tests(policy_of(tmp_path))[2]] == ["cannot fail"]
    assert "which is not there" in _tests(policy_of(tmp_path, "tests = ['nowhere']"))[2][0].says


def test_a_proof_of_this_tree_is_judged_by_every_demand(tmp_path):
    assert llorch("verify", "-o", tmp_path / "p", "--component", "argmax").returncode == 0
    policy = replace(policy_of(tmp_path), allow_dirty=True)
    found = judge(policy, tmp_path / "p", load_specs())
    assert len(found.asked) == 9
    assert {r.kind for r in found.reasons} == {"incomplete", "unproved", "missed mistake", "coverage"}
    (tmp_path / "p" / "junit.xml").write_text("")
    found = judge(policy, tmp_path / "p", load_specs())
    assert found.trace is None
    assert [r.what for r in found.reasons] == ["junit.xml"]


# The order of reasons, and the answer


def test_the_worst_reason_comes_first():
    reasons = [Reason(kind, "x", "y", "z") for kind in ("coverage", "stub", "tampered", "failed")]
    assert [r.kind for r in worst_first(reasons)] == ["tampered", "failed", "stub", "coverage"]


def test_the_gate_is_open_where_nothing_speaks_against_it():
    assert Judgement(None).open
    assert not Judgement(None, [Reason("stub", "x", "y", "z")]).open
    assert Judgement(None).as_json()["verdict"] == "open"


def test_every_kind_of_reason_is_explained():
    assert all(text.endswith(".") for text in KINDS.values())


def test_an_open_gate_says_so_and_ends_with_0(committed, tmp_path):
    policy = tmp_path / "pyproject.toml"
    policy.write_text(committed.folder.joinpath("pyproject.toml").read_text())
    ran = committed.run("gate", "--verify", "proof")
    assert ran.returncode == 0
    assert "the gate is open" in ran.stdout


# Forms


def test_the_summary_and_the_sarif_name_every_reason(house, tmp_path):
    house.append("llorch_core/engine/layers.py", "\n# another line\n")
    summary, sarif = tmp_path / "new" / "summary.md", tmp_path / "new" / "gate.sarif"
    ran = house.run("gate", "--summary", summary, "--sarif", sarif)
    assert ran.returncode == 1
    assert "the code of llorch is not what it was" in ran.stdout
    assert "llorch\\_core/engine/layers.py" in summary.read_text()
    results = json.loads(sarif.read_text())["runs"][0]["results"]
    assert "other-tree" in {r["ruleId"] for r in results}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--verify", "nowhere"), "is not a folder"),
        (("--verify", "steps"), "holds no manifest.json"),
        (("--proof", "nowhere"), "is not a folder"),
        (("--policy", "nowhere.toml"), "there is no file nowhere.toml"),
        (("--verify", "proof", "--proof", "proof"), "both name a bundle"),
        (("--verify", "proof", "--summary", "steps"), "is a directory"),
    ],
)
def test_a_gate_that_is_asked_wrongly_could_not_tell(committed, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(committed.folder)
    monkeypatch.setattr(sys, "argv", ["llorch", "gate", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert says.lower() in capsys.readouterr().err.lower()
