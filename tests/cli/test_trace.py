"""llorch trace as a process: the terminal, the files, one rule, one line, and wrong uses."""

import json
import xml.etree.ElementTree as ET

import jsonschema
import pytest

from llorch_core.spec.suite import suite_folder
from tests.commands import llorch


@pytest.fixture(scope="module")
def proof(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trace") / "proof"
    assert llorch("verify", "-o", folder, "--component", "layer_norm").returncode == 0
    return folder


def test_every_rule_is_a_line_with_what_stands_behind_it(proof):
    ran = llorch("trace", "--proof", proof)
    assert ran.returncode == 0
    (line,) = [line for line in ran.stdout.splitlines() if line.startswith("layer_norm.centred")]
    assert "Subtract the mean" in line
    assert "0 of 1" in line  # no mistake was put on trial
    assert line.endswith("passed")
    assert "llorch prove -o PROOF" in ran.stdout
    assert "6 rules (6 passed)" in ran.stdout


def test_the_json_of_a_trace_has_the_form_of_its_schema(proof):
    ran = llorch("trace", "--proof", proof, "--json")
    schema = json.loads((suite_folder() / "specs/schema/trace.schema.json").read_text())
    jsonschema.validate(json.loads(ran.stdout), schema)


def test_every_form_is_written_where_it_was_asked_for(proof, tmp_path):
    files = {f"--{form}": tmp_path / "new" / form for form in ("html", "junit", "sarif", "reqif", "lobster")}
    ran = llorch("trace", "--proof", proof, *(x for pair in files.items() for x in pair))
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == ""
    assert ran.stderr.count("wrote ") == 7  # LOBSTER has three documents
    page = files["--html"].read_text()
    assert page.startswith("<!doctype html>")
    assert "layer_norm.centred" in page
    scenarios = ET.parse(files["--junit"]).getroot().findall(".//testcase")
    assert len(scenarios) == 8
    results = json.loads(files["--sarif"].read_text())["runs"][0]["results"]
    assert {r["level"] for r in results} == {"warning", "note"}  # nothing is wrong; nothing is proved
    assert "layer_norm.centred" in files["--reqif"].read_text()
    requirements, *_ = sorted(files["--lobster"].iterdir())
    assert json.loads(requirements.read_text())["generator"] == "llorch"


def test_markdown_is_printed(proof):
    text = llorch("trace", "--proof", proof, "--markdown").stdout
    assert text.startswith("# ")
    assert "`layer_norm.centred`" in text


def test_only_rules_of_a_status_are_shown(proof):
    assert "layer_norm.centred" in llorch("trace", "--proof", proof, "--status", "passed").stdout
    table = llorch("trace", "--proof", proof, "--status", "failed").stdout.partition("unproved")[0]
    assert "layer_norm.centred" not in table


def test_one_rule_is_shown_with_its_scenarios_mistakes_and_lines(proof):
    text = llorch("trace", "--proof", proof, "layer_norm.centred").stdout
    assert "must: Subtract the mean of the position before anything else." in text
    assert "When layer_norm is given x = [99, 100, 104]" in text
    assert "not tried  layer_norm.mean_kept" in text
    assert "llorch_core/engine/layers.py: " in text


def test_one_line_is_shown_with_the_rules_that_ran_it(proof):
    source = (suite_folder() / "llorch_core/engine/layers.py").read_text().splitlines()
    line = 1 + next(
        i for i, text in enumerate(source) if "variance = np.mean" in text or "variance = " in text
    )
    text = llorch("trace", "--proof", proof, f"layers.py:{line}").stdout
    assert "layer_norm.population_variance" in text
    nothing = 1 + next(i for i, text in enumerate(source) if text.startswith("import numpy"))
    assert (
        "it runs when the module is imported"
        in llorch("trace", "--proof", proof, f"layers.py:{nothing}").stdout
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("layer_norm.centered",), "layer_norm.centred"),
        (("layers.py:99999",), "the engine has no line"),
        (("--json", "--markdown"), "two outputs"),
        (("--html", "/proc/nowhere/x.html"), "cannot be written"),
    ],
)
def test_what_was_asked_wrongly_is_told(proof, arguments, says):
    ran = llorch("trace", "--proof", proof, *arguments)
    assert ran.returncode == 2
    assert says in ran.stderr
    assert "Traceback" not in ran.stderr


def test_without_a_proof_the_next_step_is_told(tmp_path):
    ran = llorch("trace", "--proof", tmp_path)
    assert ran.returncode == 2
    assert f"llorch verify -o {tmp_path}" in ran.stderr
