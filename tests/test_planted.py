"""What was taken away is missed: a comparison, a claim to catch a mistake, the work of a step."""

import ast
import re
import shutil
from pathlib import Path

import pytest
import yaml
from behave.step_registry import registry

from llorch_core.spec.suite import load_specs
from llorch_core.subject.numpy_engine import NumpyEngine
from llorch_core.trace.run import suite
from llorch_core.trace.session import Session

ROOT = Path(__file__).parents[1]

# How much the suite holds. Where something is added, add it here; what is lost without a word turns red.
CENSUS = {"scenarios": 301, "comparisons": 327, "claims": 403, "mistakes": 385}


def read_yaml(text):
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def write_yaml(data):
    return yaml.dump(data, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper))


def comparisons(text):
    """Return the numbers of the lines that compare: each Then, and each And or But behind one."""
    found, last = [], ""
    for number, line in enumerate(text.splitlines()):
        word = line.split()[0] if line.split() else ""
        if word in ("Given", "When", "Then"):
            last = word
        if word == "Then" or (word in ("And", "But") and last == "Then"):
            found.append(number)
    return found


def claims(path):
    """Return each rule of a spec with each mistake that it claims to catch."""
    rules = read_yaml(path.read_text())["rules"]
    return [(rule, mistake) for rule, entry in rules.items() for mistake in entry["catches"]]


def census(root):
    """Count what the features and specs below `root` hold."""
    texts = [path.read_text() for path in sorted((root / "features").rglob("*.feature"))]
    specs = [*(root / "specs/components").glob("*.yaml"), *(root / "specs/model").glob("*.yaml")]
    return {
        "scenarios": sum(len(re.findall(r"^ *Scenario( Outline)?:", text, re.MULTILINE)) for text in texts),
        "comparisons": sum(len(comparisons(text)) for text in texts),
        "claims": sum(len(claims(path)) for path in specs),
        "mistakes": sum(len(read_yaml(path.read_text())["mistakes"]) for path in specs),
    }


def test_the_suite_holds_what_it_held():
    assert census(ROOT) == CENSUS


def test_any_comparison_that_is_deleted_is_missed(tmp_path):
    shutil.copytree(ROOT / "specs", tmp_path / "specs", ignore=shutil.ignore_patterns("golden"))
    shutil.copytree(ROOT / "features", tmp_path / "features")
    planted = 0
    for path in sorted((tmp_path / "features").rglob("*.feature")):
        text = path.read_text()
        lines = text.splitlines(keepends=True)
        for number in comparisons(text):
            fewer = "".join(lines[:number] + lines[number + 1 :])
            assert len(comparisons(fewer)) < len(comparisons(text)), f"{path}:{number + 1}"
            planted += 1
    assert planted == CENSUS["comparisons"]
    path.write_text("".join(lines[: comparisons(text)[-1]]))
    assert census(tmp_path) != CENSUS


def test_any_claim_that_is_deleted_is_missed(tmp_path):
    planted = 0
    for path in [*(ROOT / "specs/components").glob("*.yaml"), *(ROOT / "specs/model").glob("*.yaml")]:
        data = read_yaml(path.read_text())
        for rule, mistake in claims(path):
            rules = {name: dict(entry) for name, entry in data["rules"].items()}
            rules[rule]["catches"] = [m for m in rules[rule]["catches"] if m != mistake]
            (tmp_path / path.name).write_text(write_yaml({**data, "rules": rules}))
            assert len(claims(tmp_path / path.name)) == len(claims(path)) - 1
            planted += 1
    assert planted == CENSUS["claims"]


def test_no_step_is_empty():
    for path in (ROOT / "steps").glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            kinds = {ast.unparse(d).split("(")[0] for d in getattr(node, "decorator_list", ())}
            if kinds & {"given", "when", "then"}:
                used = {n.id for stm in node.body for n in ast.walk(stm) if isinstance(n, ast.Name)}
                assert "context" in used, f"{path.name}: {node.name} does nothing"


def using(matcher):
    """Return the scenarios that use a step, by title and line, and the rules that they are about."""
    scenarios = [
        scenario
        for feature in suite()._features
        for scenario in feature.walk_scenarios()
        if any(
            step.step_type == matcher.step_type and matcher.match(step.name) for step in scenario.all_steps
        )
    ]
    rules = {str(tag) for scenario in scenarios for tag in scenario.effective_tags if "." in tag}
    return {(s.name, s.line) for s in scenarios}, " or ".join(f"@{rule}" for rule in sorted(rules))


@pytest.fixture(scope="module")
def session():
    """Our engine with the embedded model, what every scenario did with it, and all that is computed once."""
    session = Session(NumpyEngine())
    suite().run(session, "not @nothing")
    return session


def matchers(*kinds):
    suite()  # loads the steps
    return [m for kind in kinds for m in registry.steps[kind]]


def statuses(outcomes, scenarios):
    """Return the status of those outcomes that are of scenarios which are meant."""
    return {o.id: o.status for o in outcomes if (o.title, o.line) in scenarios}


def again(session, tags, scenarios):
    """Run the features that hold scenarios anew; return the status of these scenarios."""
    other = session.again()
    for index, feature in enumerate(suite()._features):
        if any((s.name, s.line) in scenarios for s in feature.walk_scenarios()):
            suite().run(other, tags, index)
    return statuses(other.outcomes, scenarios)


@pytest.mark.untraced
@pytest.mark.parametrize("matcher", matchers("when", "then"), ids=lambda m: f"{m.step_type} {m.pattern}")
def test_a_step_that_does_nothing_is_noticed(session, matcher):
    scenarios, tags = using(matcher)
    assert scenarios, f"no scenario uses the step {matcher.pattern!r}"
    before = statuses(session.outcomes, scenarios)
    passed = {id for id in before if before[id] == "passed"}
    if not passed:
        pytest.skip(f"the step {matcher.pattern!r} needs what is not here")
    worked = matcher.func
    matcher.func = lambda context, *arguments, **named: None  # as if its body were `pass`
    try:
        after = again(session, tags, scenarios)
    finally:
        matcher.func = worked
    assert {after[id] for id in passed} <= {"failed", "error", "stub"}


def test_every_rule_is_still_loaded():
    assert len(load_specs().all_rules()) >= 229
