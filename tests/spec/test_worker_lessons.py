"""Each lesson of the failed worker is there, and what enforces it; a false lesson is refused."""

import ast
import json
import re
import shutil
from pathlib import Path

import click
import jsonschema
import pytest

from llorch_core.cli import llorch
from llorch_core.gate.policy import schema
from llorch_core.gate.reasons import KINDS as REASONS
from llorch_core.spec.errors import SpecError
from llorch_core.spec.lessons import check_lessons, read_lessons
from llorch_core.spec.suite import load_specs
from llorch_core.stubs.kinds import KINDS as STUBS
from llorch_core.trace.words import LESSONS as STATUSES

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
LESSONS = load_specs().lessons
ASSUMPTIONS = [f"A{n}" for n in range(1, 19)]
CAUSES = [f"R{n}" for n in range(1, 11)]
GUARDRAILS = [f"G-{n:02}" for n in range(1, 39)]
LINKS = sorted({(link.kind, link.name, link.test or "") for lesson in LESSONS for link in lesson.links})


def named(kind):
    return [name for of, name, _ in LINKS if of == kind]


def functions_of(file):
    """Return the names of the functions of a file of this repository."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


# What is there


def test_every_assumption_cause_and_guardrail_has_its_lesson_in_order():
    assert [lesson.id for lesson in LESSONS] == [*ASSUMPTIONS, *CAUSES, *GUARDRAILS]
    assert [lesson.kind for lesson in LESSONS] == (["assumption"] * 18 + ["cause"] * 10 + ["guardrail"] * 38)


@pytest.mark.skipif(not (SHARED / "LESSONS.md").exists(), reason="../shared/LESSONS.md is absent")
def test_the_list_of_lessons_has_no_others():
    text = (SHARED / "LESSONS.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (A\d+) \|.*?\| \**(right|wrong)", text, re.MULTILINE)
    assert [id for id, _ in rows] == ASSUMPTIONS
    assert [lesson.verdict for lesson in LESSONS[:18]] == [verdict for _, verdict in rows]
    causes = text.partition("## 3. Root causes")[2].partition("\n## ")[0]
    assert len(re.findall(r"^\d+\. ", causes, re.MULTILINE)) == len(CAUSES)
    assert re.findall(r"^\| (G-\d+) \|", text, re.MULTILINE) == GUARDRAILS


@pytest.mark.skipif(not (SHARED / "BUGS.md").exists(), reason="../shared/BUGS.md is absent")
def test_the_evidence_of_a_lesson_is_in_the_catalogue_of_bugs():
    text = (SHARED / "BUGS.md").read_text(encoding="utf-8")
    known = set(re.findall(r"^\| ([A-E]\d+) \|", text, re.MULTILINE))
    assert {id for lesson in LESSONS for id in lesson.evidence} - known == set()


def test_most_lessons_are_enforced_and_the_others_say_why_not():
    left = [lesson for lesson in LESSONS if not lesson.links]
    assert {lesson.id for lesson in left} == {"A14", "G-22", "G-23"}
    assert all(len(lesson.not_enforced) > 20 for lesson in left)


def test_every_rule_and_mistake_that_is_named_is_in_the_specs():
    assert set(named("rule")) <= set(load_specs().all_rules())
    assert set(named("mistake")) <= set(load_specs().mistake_ids())
    assert len(named("rule")) >= 40


def test_every_kind_of_stub_that_is_named_is_looked_for():
    assert set(named("stub")) <= STUBS.keys()
    assert len(named("stub")) >= 8


def test_every_demand_of_the_gate_that_is_named_is_one():
    settings = schema()["properties"]
    coverage = {f"coverage.{name}" for name in settings["coverage"]["properties"]}
    assert set(named("gate")) <= {*settings, *coverage, *REASONS}
    assert len(named("gate")) >= 15


def test_every_test_that_is_named_is_there():
    tests = {*named("test"), *(test for _, _, test in LINKS if test)}
    found = {file: functions_of(file) for file in {test.partition("::")[0] for test in tests}}
    assert [
        test for test in sorted(tests) if test.partition("::")[2] not in found[test.partition("::")[0]]
    ] == []
    assert len(tests) >= 60


@pytest.mark.parametrize(
    ("command", "test"), [(name, test) for kind, name, test in LINKS if kind == "command"]
)
def test_a_command_that_is_named_is_one_and_its_test_has_its_words(command, test):
    verb, *words = command.split()[1:]
    found = llorch.get_command(click.Context(llorch), verb)
    assert found is not None
    options = {option for parameter in found.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options
    text = (ROOT / test.partition("::")[0]).read_text(encoding="utf-8")
    assert all(word in text for word in (verb, *words))


def test_the_page_shows_a_lesson_as_it_is_and_explains_every_link_and_status():
    page = (ROOT / "docs" / "lessons.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```yaml\nguardrails:\n(.*?)```", page, re.DOTALL)
    assert shown in (ROOT / "specs" / "lessons" / "worker-guardrails.yaml").read_text(encoding="utf-8")
    assert {*re.findall(r"^\| ([a-z ]+?) \|", page, re.MULTILINE)} - {"file", "link", "status"} == {*STATUSES}
    assert {kind for kind, _, _ in LINKS} <= {*re.findall(r"`(\w+)`", page)}


# What is refused

RIGHT = """\
guardrails:
  - id:       G-01
    lesson:   Tests and steps hold no stub.
    happened: Some tests announced that they are stubs.
    evidence: [D2]
    enforced_by:
      - rule: argmax.largest
      - mistake: argmax.smallest
      - command: llorch stubs
        test: tests/cli/test_stubs.py::test_this_repository_has_no_stub
    apart_from: The tests that nobody has written.
"""
ENFORCED = RIGHT[RIGHT.index("    enforced_by") :]
SECOND = RIGHT.partition("\n")[2]


def check(folder, text, name="ours.yaml"):
    (folder / name).write_text(text)
    spec = load_specs()
    check_lessons(folder, ROOT / "specs" / "schema", spec.all_rules(), spec.mistake_ids())


def test_a_true_lesson_is_read(tmp_path):
    check(tmp_path, RIGHT)
    (lesson,) = read_lessons(tmp_path, None)
    assert (lesson.id, lesson.kind, lesson.line, lesson.evidence) == ("G-01", "guardrail", 2, ("D2",))
    assert [(link.kind, link.name) for link in lesson.links] == [
        ("rule", "argmax.largest"),
        ("mistake", "argmax.smallest"),
        ("command", "llorch stubs"),
    ]
    assert lesson.links[2].test == "tests/cli/test_stubs.py::test_this_repository_has_no_stub"


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("argmax.largest", "argmax.larger", 7, "argmax.larger is no rule of the specs. Correct it"),
        ("argmax.smallest", "argmax.largest", 8, "argmax.largest is no mistake of the specs. Correct it"),
        (ENFORCED, "", 2, "G-01 has neither of enforced_by and not_enforced. Name the rule"),
        (
            "    apart",
            "    not_enforced: Nobody has looked for it.\n    apart",
            2,
            "G-01 has both of enforced_by",
        ),
        (ENFORCED, "    not_enforced: so what.\n", 6, "'so what.' is too short"),
        ("- rule: argmax.largest", "- law: argmax.largest", 7, "'law' was unexpected"),
        ("- rule: argmax.largest", "- {rule: argmax.largest, stub: empty}", 7, "has too many properties"),
        (
            "        test: tests/cli/test_stubs.py::test_this_repository_has_no_stub\n",
            "",
            9,
            "'test' is a dep",
        ),
        ("G-01", "stubs", 2, "'stubs' does not match"),
        ("guardrails:", "guardrail:", 1, "'guardrail' was unexpected"),
        (RIGHT, RIGHT + SECOND, 12, "G-01 is there twice: also in ours.yaml:2. Keep one."),
    ],
)
def test_a_false_lesson_is_refused_at_its_line_with_the_next_step(tmp_path, old, new, line, said):
    assert RIGHT.count(old) == 1
    with pytest.raises(SpecError, match=rf"ours\.yaml:{line}: .*{re.escape(said)}"):
        check(tmp_path, RIGHT.replace(old, new))


def test_a_lesson_is_not_there_twice_in_two_files(tmp_path):
    check(tmp_path, RIGHT, "first.yaml")
    with pytest.raises(SpecError, match=r"second\.yaml:2: G-01 is there twice: also in first\.yaml:2"):
        check(tmp_path, RIGHT, "second.yaml")


def test_a_mistake_of_the_field_that_no_spec_has_is_refused(tmp_path):
    field = (ROOT / "specs" / "lessons" / "field.yaml").read_text(encoding="utf-8")
    check(tmp_path, field, "field.yaml")
    assert field.count("mlp.erf_gelu") == 1
    line = 1 + next(n for n, text in enumerate(field.splitlines()) if "mlp.erf_gelu" in text)
    with pytest.raises(SpecError, match=rf"field\.yaml:{line}: mlp.erf_geln is no mistake of the specs"):
        check(tmp_path, field.replace("mlp.erf_gelu", "mlp.erf_geln"), "field.yaml")


@pytest.mark.untraced
def test_specs_with_a_false_lesson_are_not_loaded(tmp_path):
    specs = tmp_path / "specs"
    shutil.copytree(ROOT / "specs", specs, ignore=shutil.ignore_patterns("golden"))
    with (specs / "lessons" / "worker-causes.yaml").open("a") as file:
        file.write(RIGHT.replace("G-01", "X-01").replace("argmax.largest", "argmax.larger"))
    with pytest.raises(SpecError, match=r"worker-causes\.yaml:\d+: argmax.larger is no rule of the specs"):
        load_specs(specs)


def test_the_form_is_a_schema():
    form = json.loads((ROOT / "specs" / "schema" / "failure.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(form)
