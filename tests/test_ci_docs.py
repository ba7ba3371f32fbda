"""What docs/ci.md tells people to copy is right: the YAML, the options, the files that tools read."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import click
import jsonschema
import pytest
import yaml

from llorch_core.cli import llorch
from llorch_core.spec.suite import load_specs
from llorch_core.trace.lobster import NAMES

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
WORKFLOW = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", TEXT, re.DOTALL)
YAML = [yaml.safe_load(block) for language, block in BLOCKS if language == "yaml"]
GITHUB, GITLAB = ([b for b in YAML if ("jobs" in b) == is_github] for is_github in (True, False))
JOBS = [job for block in GITHUB for job in block["jobs"].values()]
UPLOAD = "github/codeql-action/upload-sarif"


def steps(job, uses):
    return [step for step in job["steps"] if step.get("uses", "").startswith(f"{uses}@")]


def lines():
    """Return every line of shell that a reader copies."""
    for job in JOBS:
        for step in job["steps"]:
            yield from step.get("run", "").splitlines()
    for block in GITLAB:
        for job in block.values():
            yield from (*job["script"], *job.get("after_script", ()))
    for language, block in BLOCKS:
        if not language:
            yield from block.splitlines()


COMMANDS = sorted({line for line in lines() if line.removeprefix(".venv/bin/").startswith("llorch ")})


def arguments(command):
    """Return the words of the first command in a line, behind the program."""
    return shlex.split(command.partition("||")[0])[1:]


def option(command, *names):
    """Return the value of an option of a command; None where it is not given."""
    words = arguments(command)
    return next((words[i + 1] for i, word in enumerate(words) if word in names), None)


def test_there_is_a_workflow_and_a_job_for_both_kinds_of_repository():
    assert (len(GITHUB), len(GITLAB)) == (2, 2)
    assert len(COMMANDS) >= 12
    verbs = {arguments(command)[0] for command in COMMANDS}
    assert verbs == {"verify", "prove", "gate", "trace", "stubs"}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_has_only_options_that_exist(command):
    verb, *words = arguments(command)
    found = llorch.get_command(click.Context(llorch), verb)
    assert found is not None, f"there is no command {verb}"
    _, left, _ = found.make_parser(click.Context(found)).parse_args(words)  # raises at an unknown option
    assert not left


def test_the_workflow_of_this_repository_is_the_one_that_runs():
    assert WORKFLOW in [block for language, block in BLOCKS if language == "yaml"]
    assert "bash .ci/run" in WORKFLOW


def test_every_action_is_pinned_to_a_major_version():
    used = [step["uses"] for job in JOBS for step in job["steps"] if "uses" in step]
    assert used
    assert all(re.fullmatch(r"[\w.-]+(/[\w.-]+)+@v\d+", name) for name in used), used


def test_only_a_job_that_uploads_sarif_may_write():
    for workflow in GITHUB:
        assert workflow["permissions"] == {"contents": "read"}
    for job in JOBS:
        wanted = {"contents": "read", "security-events": "write"} if steps(job, UPLOAD) else None
        assert job.get("permissions") == wanted


@pytest.mark.parametrize("job", [job for job in JOBS if steps(job, UPLOAD)])
def test_a_job_uploads_what_the_gate_wrote_also_where_it_said_no_and_never_from_a_fork(job):
    runs = [step for step in job["steps"] if "llorch gate" in step.get("run", "")]
    (gate,) = runs
    (upload,) = steps(job, UPLOAD)
    file = upload["with"]["sarif_file"]
    assert option(gate["run"], "--sarif") == file
    assert option(gate["run"], "--summary") == "$GITHUB_STEP_SUMMARY"
    assert f"hashFiles('{file}') != ''" in upload["if"]
    assert "github.event.pull_request.head.repo.full_name == github.repository" in upload["if"]
    assert upload["continue-on-error"] is True
    (artefact,) = steps(job, "actions/upload-artifact")
    proofs = {
        option(step["run"], "-o") for step in job["steps"] if re.search("llorch (verify|prove)", str(step))
    }
    assert proofs | {"proof/"} == {"proof/"}
    assert "proof/" in artefact["with"]["path"].split()
    for step in job["steps"][job["steps"].index(gate) :]:
        assert "!cancelled()" in step["if"]


@pytest.mark.parametrize("job", [job for block in GITLAB for job in block.values()])
def test_a_job_of_gitlab_goes_on_to_the_gate_and_keeps_what_it_wrote(job):
    *before, gate = (*job["script"], *job.get("after_script", ()))
    kept = job["artifacts"]["paths"]
    assert job["artifacts"]["when"] == "always"
    for file in (option(gate, "--summary"), option(gate, "--sarif")):
        assert file in kept or f"{file.partition('/')[0]}/" in kept
    assert job["artifacts"]["reports"] == {"junit": f"{kept[0]}junit.xml"}
    for line in before:
        if re.search("llorch (verify|prove)", line):
            assert option(line, "-o") == kept[0]
            assert line.endswith("|| test $? -eq 1")
    assert len(before) > 3 or "after_script" in job  # which runs also where the script has failed


@pytest.mark.parametrize("job", [*JOBS, *(job for block in GITLAB for job in block.values())])
def test_a_job_has_the_whole_history(job):
    if "steps" in job:
        assert steps(job, "actions/checkout")[0]["with"]["fetch-depth"] == 0
    else:
        assert job["variables"]["GIT_DEPTH"] == "0"


def test_the_policy_for_lobster_names_the_files_that_are_written():
    (policy,) = [block for language, block in BLOCKS if language == "conf"]
    assert tuple(re.findall(r'source: "(.*?)";', policy)) == NAMES
    levels = re.findall(r'^(\w+) "(\w+)" \{', policy, re.MULTILINE)
    assert [kind for kind, _ in levels] == ["requirements", "activity", "implementation"]
    assert set(re.findall(r'(?:trace to|requires): "(\w+)"', policy)) <= {name for _, name in levels}


def test_the_policy_that_is_shown_is_one_and_names_a_rule_that_exists():
    (block,) = [block for language, block in BLOCKS if language == "toml"]
    policy = tomllib.loads(block)["tool"]["llorch"]["gate"]
    schema = json.loads((ROOT / "specs" / "schema" / "gate.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(policy)
    assert {entry["rule"] for entry in policy["not_run"]} <= set(load_specs().all_rules())


def test_every_page_that_is_named_exists():
    for name in re.findall(r"\]\(([^)]+)\)", TEXT):
        assert (ROOT / "docs" / name).exists(), name
