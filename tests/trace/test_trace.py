"""The trace leads from a rule to what stands behind it, and back; what is missing is named."""

import ast
import copy
import json
import subprocess
import sys
import textwrap
from dataclasses import replace

import jsonschema
import pytest
from coverage import Coverage

from llorch_core.check.compare import compare
from llorch_core.spec.suite import load_specs, suite_folder
from llorch_core.trace import origin, proof
from llorch_core.trace.lines import inside_functions, lines_of, merge, named_code, statements
from llorch_core.trace.proof import Proof
from llorch_core.trace.session import Outcome
from llorch_core.trace.trace import make_trace, rule_digest, rule_digests, uncompared
from tests.commands import llorch

RULE = "argmax.largest"


def outcome(status="passed", rules=(RULE,), line=3, **more):
    evidence = [compare("argmax.out", [1.0, 2.5], [1.0, 2.0], 1.0)]
    more = {"evidence": evidence, "text": "Scenario: a title", "feature": "F", **more}
    return Outcome(rules, f"title {line}", "features/sampling/choice.feature", line, status=status, **more)


def about(**more):
    """What a manifest says, of an engine that is not ours: its lines are not traced."""
    return {
        "engine": {"name": "e", "precision": "float32", "traced": False},
        "model": {"name": "m"},
        "component": None,
        "suite": origin.suite_files(),
        "code": origin.code_files(),
        "rules": rule_digests(load_specs()),
        "at": "2030-01-01T00:00:00.000Z",
        "seconds": 1.0,
        "commands": ["llorch verify -o proof"],
        "versions": {},
        "machine": "a machine",
        "git": {"commit": None, "dirty": None, "changed": []},
        "files": {},
        **more,
    }


def trials(rule=RULE, status="caught"):
    found = {"checkpoint": "argmax.out", "share": 12.0}
    return [
        {"mistake": m, "rule": rule, "status": status, "scenario": "a", "found": found}
        for m in load_specs().all_rules()[rule].catches
    ]


def made(*outcomes, tried=(), **more):
    return make_trace(Proof(suite_folder(), about(**more), list(outcomes), trials=list(tried)), load_specs())


def rule(trace, id=RULE):
    return next(r for r in trace["rules"] if r["rule"] == id)


def kinds(trace, what):
    return {p["kind"] for p in trace["problems"] if p["what"] == what}


@pytest.mark.untraced
def test_a_trace_has_the_form_of_its_schema():
    schema = json.loads((suite_folder() / "specs/schema/trace.schema.json").read_text())
    jsonschema.validate(made(outcome(), outcome("not run", line=9), tried=trials()), schema)


@pytest.mark.untraced
def test_a_rule_is_proved_when_it_passed_compared_everything_and_its_mistakes_were_caught():
    assert rule(made(outcome(), tried=trials()))["status"] == "proved"
    untried = rule(made(outcome()))
    assert untried["status"] == "passed"
    assert "not tried" in untried["why"]
    missed = made(outcome(), tried=trials(status="missed"))
    assert rule(missed)["status"] == "passed"
    assert kinds(missed, RULE) == {"missed mistake"}


def test_one_mistake_that_was_not_caught_is_enough():
    tried = trials()
    tried[0] = {**tried[0], "status": "crashed", "found": None}
    found = made(outcome(), tried=tried)
    assert rule(found)["status"] == "passed"
    assert found["totals"]["caught"] == len(tried) - 1


@pytest.mark.untraced
@pytest.mark.parametrize("status", ["failed", "error", "stub", "not run"])
def test_what_the_scenarios_say_is_the_status_and_has_its_message(status):
    found = rule(made(outcome(status, message="why it is so"), tried=trials()))
    assert (found["status"], found["why"]) == (status, "why it is so")


@pytest.mark.untraced
def test_shapes_that_differ_are_elements_that_were_not_compared():
    wrong = compare("argmax.out", [1.0], [1.0, 2.0])
    found = made(outcome(evidence=[wrong], status="failed"))
    assert (rule(found)["elements"], rule(found)["of"]) == (0, 2)
    assert found["totals"]["elements"] < found["totals"]["of"]


def test_a_rule_whose_words_or_equations_changed_is_stale():
    digests = {**rule_digests(load_specs()), RULE: "of other words"}
    found = made(outcome(), tried=trials(), rules=digests)
    assert rule(found)["status"] == "stale"
    assert kinds(found, RULE) == {"stale"}
    assert rule(made(outcome(), tried=trials()))["status"] == "proved"


@pytest.mark.parametrize("file", ["features/sampling/choice.feature", "steps/components.py"])
def test_a_rule_whose_feature_or_steps_changed_is_stale(file):
    found = rule(made(outcome(), tried=trials(), suite={**origin.suite_files(), file: "another"}))
    assert found["status"] == "stale"
    assert file in found["why"]


@pytest.mark.untraced
def test_another_feature_that_changed_makes_no_rule_stale():
    suite = {**origin.suite_files(), "features/components/mlp.feature": "another"}
    assert rule(made(outcome(), tried=trials(), suite=suite))["status"] == "proved"


def test_the_digest_of_a_rule_is_of_its_text_its_equations_and_its_claims():
    spec = load_specs()
    part = spec.components["argmax"]
    before = rule_digests(spec)[RULE]
    rule_of = part.rules["largest"]
    assert rule_digest(rule_of, part) == before
    assert rule_digest(replace(rule_of, text="Return another."), part) != before
    assert rule_digest(replace(rule_of, catches=()), part) != before
    file = copy.deepcopy(part.file)
    file.data["equations"]["out"] = "0"
    assert rule_digest(rule_of, replace(part, file=file)) != before


def test_a_tag_without_a_rule_is_orphaned_and_a_scenario_without_a_tag_has_no_rule():
    found = made(outcome(rules=("argmax.no_such",)), outcome(rules=(), line=8))
    assert rule(found, "argmax.no_such")["status"] == "orphaned"
    assert kinds(found, "argmax.no_such") == {"orphaned"}
    assert kinds(found, "features/sampling/choice.feature:8") == {"without rule"}


def test_two_scenarios_with_one_title_are_named():
    one, two = outcome(line=3), replace(outcome(line=7), title="title 3")
    found = made(one, two)
    assert kinds(found, one.id) == kinds(found, two.id) == {"duplicate"}
    assert kinds(made(outcome(line=3), outcome(line=7)), outcome(line=3).id) == set()


@pytest.mark.untraced
def test_problems_are_in_order_worst_first():
    found = made(outcome("failed"), outcome(rules=("argmax.no_such",), line=4))["problems"]
    order = [p["kind"] for p in found]
    assert order[0] == "failed"
    assert order.index("orphaned") < order.index("untested")


def test_elements_that_the_engine_showed_and_nobody_compared_count():
    reading = {"0/embed": 2, "0/h.0.mlp.act": 40, "0/ids": 5}
    held = compare("embed", [1.0, 2.0], [1.0, 2.0], step=0)
    found = Proof(suite_folder(), about(), [outcome(evidence=[held])], reading)
    assert uncompared(found) == {"0/h.0.mlp.act": 40}
    assert make_trace(found, load_specs())["totals"]["of"] == 2 + 40
    part = compare("h.0.mlp.act", [0.0] * 39, [0.0] * 39, step=0)
    assert uncompared(replace(found, outcomes=[outcome(evidence=[held, part])])) == {"0/h.0.mlp.act": 40}


@pytest.mark.untraced
def test_worst_errors_are_told_block_by_block():
    def of(layer, got):
        return compare(f"h.{layer}.mlp.act", [got], [0.0], 1.0, step=0)

    found = made(outcome(rules=("mlp.widen_then_bend",), evidence=[of(0, 0.25), of(1, 0.5), of(1, 0.75)]))
    mlp = next(c for c in found["components"] if c["id"] == "mlp")
    (errors,) = mlp["errors"]
    assert errors["checkpoint"] == "h.N.mlp.act"
    assert errors["layers"] == [{"layer": 0, "share": 0.25}, {"layer": 1, "share": 0.75}]


# Links that were lost


@pytest.mark.untraced
def test_a_rule_whose_last_scenario_a_commit_removed_names_the_commit(tmp_path, copy_house):
    copy_house(tmp_path)

    def git(*arguments):
        settings = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *settings, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "All of it")
    path = tmp_path / "features" / "sampling" / "choice.feature"
    text = path.read_text()
    start = text.index("  @argmax.largest\n")
    end = text.index("\n  @", start + 1)
    path.write_text(text[:start] + text[end + 1 :])
    git("commit", "-qam", "Nobody needs this scenario")
    code = (
        "import sys; from pathlib import Path\n"
        "from llorch_core.trace import proof; from llorch_core.trace.trace import make_trace\n"
        "from llorch_core.spec.suite import load_specs\n"
        "t = make_trace(proof.read(Path('p')), load_specs())\n"
        "import json; print(json.dumps([p for p in t['problems'] if p['kind'] == 'lost']))\n"
    )
    command = [sys.executable, "-m", "llorch_core", "verify", "-o", "p", "--component", "argmax"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 1, ran.stderr  # untested is not conforming
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    (lost,) = json.loads(told.stdout)
    assert lost["what"] == RULE
    assert "Nobody needs this scenario" in lost["says"]
    assert "features/sampling/choice.feature" in lost["says"]


# Lines


def test_every_component_names_code_of_the_engine():
    assert {part.id for part in load_specs().parts()} == set(named_code())


def test_lines_of_a_scenario_are_its_own_and_those_of_what_it_shared():
    ran = merge([{"a:1": {"f.py": [3, 1]}, "the reading": {"f.py": [9]}}, {"a:1": {"f.py": [2]}}])
    assert lines_of(ran, "a:1", []) == {"f.py": [1, 2, 3]}
    assert lines_of(ran, "a:1", ["the reading"]) == {"f.py": [1, 2, 3, 9]}
    assert lines_of(ran, "b:7", ["the reading"]) == {"f.py": [9]}


@pytest.mark.untraced
def test_what_runs_at_import_is_not_what_a_scenario_has_to_run():
    text = textwrap.dedent(
        """\
        import os

        def f(x):
            'Doc.'
            y = x
            return y

        class C:
            z = 1
            def g(self):
                return 2
        """
    )
    tree = ast.parse(text)
    called = {line for part in tree.body for line in inside_functions(part, tree)}
    assert {5, 6, 11} <= called
    assert not {1, 3, 8, 9, 10} & called
    counted = Coverage(data_file=None, config_file=False)
    for file, entry in statements().items():
        assert set(entry["imported"]) <= set(entry["statements"])
        assert entry["statements"] == counted.analysis2(str(suite_folder() / file))[1]


@pytest.mark.untraced
def test_a_line_leads_back_to_the_rules_that_ran_it(tmp_path):
    assert llorch("verify", "-o", tmp_path / "p", "--component", "argmax").returncode == 0
    trace = make_trace(proof.read(tmp_path / "p"), load_specs())
    sampling = next(entry for entry in trace["code"] if entry["file"].endswith("engine/sampling.py"))
    line = 1 + next(i for i, text in enumerate(sampling["text"]) if "best = int(np.argmax(logits))" in text)
    ran = {trace["rules"][i]["rule"] for i in sampling["run"][str(line)]}
    assert ran == {"argmax.largest", "argmax.lowest_id_of_equals"}
    assert line in rule(trace)["lines"][sampling["file"]]
    missed = 1 + next(i for i, text in enumerate(sampling["text"]) if "cumulative = np.cumsum(" in text)
    assert missed in sampling["missed"]
    assert any(p["kind"] == "line without rule" and p["file"] == sampling["file"] for p in trace["problems"])
