"""docs/postmortem.md says of a case what the schema and the check say."""

import re
from pathlib import Path

import pytest
import yaml

from llorch_core.postmortem.judgement.forms import definition, properties, validator
from llorch_core.postmortem.judgement.judgement import KINDS, Judgement, add
from llorch_core.postmortem.judgement.marked_yaml import read_marked
from llorch_core.postmortem.judgement.problems import KINDS as PROBLEMS

TEXT = (Path(__file__).parents[2] / "docs" / "postmortem.md").read_text(encoding="utf-8")
COMMON = {"id", "title", "row", "evidence"}
ANSWERS = {"what", "why", "impact", "should_have", "changes"}
EXAMPLES = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


def test_every_kind_of_problem_is_in_the_table():
    """In the same words."""
    rows = dict(re.findall(r"^\| `([a-z ]+)` \| (.*) \|$", TEXT, re.MULTILINE))
    assert {kind: rows.get(kind) for kind in PROBLEMS} == {
        kind: says[0].lower() + says[1:].rstrip(".") for kind, says in PROBLEMS.items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_of_an_entry_is_in_its_row(kind):
    """And no other."""
    row = re.search(rf"^\| `{kind}\.yaml` \| .* \| (.*) \|$", TEXT, re.MULTILINE)[1]
    named = set(re.findall(r"`([a-z_]+)`", row)) | (ANSWERS if "the five answers" in row else set())
    wanted = set(properties(kind)) - COMMON
    assert named == wanted - ({"broken_by"} if kind == "guardrails" else set())


@pytest.mark.parametrize(
    ("start", "kind"), [("- id:         no_victory", "guardrails"), ("- id:        not_the", "ruled_out")]
)
def test_the_examples_keep_to_their_form(tmp_path, start, kind):
    """As entries of their files."""
    (example,) = (text for text in EXAMPLES if text.startswith(start))
    (tmp_path / f"{kind}.yaml").write_text(f"{kind}:\n{example}")
    judgement = Judgement(tmp_path)
    add(judgement, kind, read_marked(tmp_path / f"{kind}.yaml"))
    assert (judgement.problems, len(judgement.entries[kind])) == ([], 1)


def test_the_references_keep_to_their_form_and_are_of_every_kind():
    """Each as the schema wants it."""
    (example,) = (text for text in EXAMPLES if text.startswith("evidence:"))
    references = yaml.safe_load(example)["evidence"]
    form = {"$ref": "#/$defs/reference", "$defs": validator().schema["$defs"]}
    assert [*validator().evolve(schema=form).iter_errors(references[0])] == []
    assert all(validator().evolve(schema=form).is_valid(one) for one in references)
    assert {name for one in references for name in one} == set(definition("reference")["properties"])
