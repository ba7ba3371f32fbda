"""Evidence is written as comparisons are made; a bundle that was not finished never looks so."""

import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from llorch_core.check.compare import compare
from llorch_core.spec.suite import suite_folder
from llorch_core.trace import proof
from llorch_core.trace.jobs import Order, WorkerDiedError, run_order
from llorch_core.trace.proof import EvidenceFile, ProofError
from llorch_core.trace.session import Outcome
from tests.commands import llorch

FRESH = {  # what these compare differs each time: it is drawn afresh
    "The seed that comes with a text makes it again",
    "A fresh seed that is asked for gives the same tokens",
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A finished bundle of the rules of one component."""
    folder = tmp_path_factory.mktemp("proof") / "bundle"
    ran = llorch("verify", "-o", folder, "--component", "layer_norm")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return folder


def entries(folder):
    return [entry for path in sorted(folder.rglob("*.jsonl")) for _, entry in proof.lines(path)]


@pytest.mark.untraced
def test_every_line_of_evidence_has_the_form_of_the_schema(bundle):
    schema = json.loads((suite_folder() / "specs/schema/evidence.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    found = entries(bundle)
    assert {entry["kind"] for entry in found} == {"comparison", "scenario"}
    for entry in found:
        validator.validate(entry)


def test_evidence_says_rule_place_elements_error_tolerance_and_digests(bundle):
    entry = next(e for e in entries(bundle) if e["scenario"].startswith("Epsilon damps a row"))
    assert entry["rules"] == ["layer_norm.epsilon_inside_root"]
    assert entry["file"] == "features/components/layer_norm.feature"
    line = (suite_folder() / entry["file"]).read_text().splitlines()[entry["line"] - 1]
    assert "Epsilon damps a row" in line
    assert (entry["engine"], entry["precision"], entry["elements"], entry["of"]) == ("numpy", "float32", 2, 2)
    assert entry["error"] == abs(entry["got"] - entry["wanted"])
    assert entry["margin"] == entry["tolerance"] - entry["error"] > 0
    assert entry["share"] == pytest.approx(entry["error"] / entry["tolerance"])


def test_evidence_read_again_is_what_was_written(bundle):
    found = proof.read(bundle)
    written = [entry for entry in entries(bundle) if entry["kind"] == "comparison"]
    assert sum(len(o.evidence) for o in found.outcomes) == len(written) > 10
    assert {o.status for o in found.outcomes} == {"passed"}
    assert found.manifest["features"] == ["features/components/layer_norm.feature"]


@pytest.mark.untraced
def test_a_comparison_that_fails_is_evidence_too(tmp_path):
    ran = llorch(
        "verify", "--engine", "spec:argmax.last_of_equals", "--component", "argmax", "-o", tmp_path / "p"
    )
    assert ran.returncode == 1
    (failed,) = [e for e in entries(tmp_path / "p") if e["kind"] == "comparison" and e["outside"]]
    assert (failed["got"], failed["wanted"], failed["margin"]) == (4, 1, -3)


def test_the_digest_of_a_tensor_is_that_of_its_type_shape_and_numbers():
    found = compare("x", np.float32([[1, 2]]), np.float64([[1, 2]]), 1.0)
    got = hashlib.sha256(b"<f4[1, 2]" + bytes.fromhex("0000803f00000040")).hexdigest()
    assert found.digests[0] == got
    assert found.digests[1] != got


# One process or several


def told(folder):
    """Return the evidence of a bundle by file, without what differs from run to run."""
    kept = {}
    for path in sorted((folder / "evidence").rglob("*.jsonl")):
        lines = [entry for _, entry in proof.lines(path)]
        for entry in lines:
            for key in ("at", "seconds"):
                entry.pop(key, None)
            if entry["scenario"] in FRESH and entry["kind"] == "comparison":
                for key in ("got", "wanted", "digests", "index"):
                    entry.pop(key)
        kept[path.relative_to(folder).as_posix()] = lines
    return kept


@pytest.mark.untraced
def test_three_processes_leave_the_evidence_that_one_leaves_in_the_same_order(tmp_path, copy_house):
    # what the threads of a server run, and its moments, differ in each run
    house = copy_house(tmp_path / "house", "features/behaviour/server_*")
    one, three = tmp_path / "one", tmp_path / "three"
    outputs = []
    for jobs, folder in ((1, one), (3, three)):
        command = [sys.executable, "-m", "llorch_core", "verify", "-o", folder, "--jobs", str(jobs), "--json"]
        ran = subprocess.run(command, cwd=house, capture_output=True, text=True, timeout=120)
        assert ran.returncode == 1, ran.stderr  # rules without a scenario are untested
        data = json.loads(ran.stdout)
        outputs.append([data["totals"], [(r["rule"], r["status"], r["elements"]) for r in data["rules"]]])
    assert outputs[0] == outputs[1]
    assert told(one) == told(three)
    assert sum(map(len, told(one).values())) > 3000
    lines = [json.loads((folder / "lines.json").read_text()) for folder in (one, three)]
    assert lines[0] == lines[1]


@pytest.mark.untraced
def test_an_engine_that_is_not_ours_is_made_anew_in_each_process(tmp_path):
    (tmp_path / "mine.py").write_text((suite_folder() / "examples" / "my_gpt2.py").read_text())
    arguments = ["verify", "--engine", "python:mine:MyGPT2", "--component", "qkv", "--json"]
    found = []
    for jobs in ("1", "2"):
        command = [sys.executable, "-m", "llorch_core", *arguments, "--jobs", jobs]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert ran.returncode in (0, 1), ran.stderr
        data = json.loads(ran.stdout)
        found.append([(r["rule"], r["status"], r["elements"]) for r in data["rules"]])
    assert found[0] == found[1]


def test_a_process_that_dies_is_told_and_is_no_verdict(tmp_path):
    (tmp_path / "deadly.py").write_text(
        "import os\n"
        "class Engine:\n"
        "    def __init__(self, folder): pass\n"
        "    def forward(self, ids):\n"
        "        os._exit(9) if len(ids) > 1 else None\n"
        "        return {'ids': ids}\n"
    )
    order = Order(engine="python:deadly:Engine", component="gpt2")
    sys.path.insert(0, str(tmp_path))
    try:
        with pytest.raises(WorkerDiedError, match="--jobs 1"):
            run_order(order, 2)
    finally:
        sys.path.remove(str(tmp_path))


# Ended too early


def test_a_kill_at_any_moment_leaves_whole_lines_and_nothing_that_looks_complete(tmp_path):
    draw = random.Random(5)
    seen = 0
    for k in range(3):
        folder = tmp_path / f"killed{k}"
        command = [sys.executable, "-m", "llorch_core", "verify", "-o", str(folder), "--jobs", "1"]
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while running.poll() is None and not list(folder.rglob("*.jsonl")):
            time.sleep(0.01)
        time.sleep(draw.random())
        running.send_signal(signal.SIGKILL)
        if running.wait() == 0:
            continue  # it was sooner
        seen += 1
        assert not (folder / proof.MANIFEST).exists()
        with pytest.raises(ProofError, match="was not finished"):
            proof.read(folder)
        for path in folder.rglob("*.jsonl"):
            for line in path.read_bytes().split(b"\n")[:-1]:
                json.loads(line)
        last = folder
    assert seen >= 2
    again = llorch("verify", "-o", last, "--component", "argmax")
    assert again.returncode == 0, again.stderr
    assert {o.rules[0].partition(".")[0] for o in proof.read(last).outcomes} == {"argmax"}


def test_a_comparison_is_in_its_file_before_it_is_judged(tmp_path):
    class Engine:
        name, precision = "e", "float32"

    notes = EvidenceFile(tmp_path, "features/x.feature", Engine())
    outcome = Outcome(("a.b",), "title", "features/x.feature", 3)
    notes.comparison(outcome, compare("x", [1.0], [2.0]))
    (entry,) = entries(tmp_path)
    assert (entry["got"], entry["wanted"], entry["outside"]) == (1.0, 2.0, 1)


def test_a_folder_of_something_else_is_left_as_it_is(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    ran = llorch("verify", "-o", tmp_path, "--component", "argmax")
    assert ran.returncode == 2
    assert "holds something else than a proof bundle" in ran.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_is_no_folder_for_a_proof(tmp_path):
    (tmp_path / "file").write_text("")
    ran = llorch("verify", "-o", tmp_path / "file", "--component", "argmax")
    assert ran.returncode == 2
    assert "is a file" in ran.stderr


@pytest.mark.untraced
def test_a_proof_that_is_made_again_holds_nothing_of_the_former(tmp_path):
    for component in ("argmax", "top_k"):
        assert llorch("verify", "-o", tmp_path / "p", "--component", component).returncode == 0
    assert not (tmp_path / "p" / "evidence" / "components").exists()
    assert {o.rules[0].partition(".")[0] for o in proof.read(tmp_path / "p").outcomes} == {"top_k"}


@pytest.mark.parametrize("spoiled", ["manifest.json", "lines.json", "evidence/components/layer_norm.jsonl"])
def test_a_bundle_that_cannot_be_read_says_so(bundle, tmp_path, spoiled):
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    text = (copy / spoiled).read_bytes()
    (copy / spoiled).write_bytes(text[: len(text) // 2])
    with pytest.raises(ProofError):
        proof.read(copy)


def test_trials_are_added_to_a_proof_of_these_specs_and_this_model_alone(bundle):
    ran = llorch("prove", "-o", bundle)
    assert ran.returncode == 2
    assert "rules of one component" in ran.stderr
    proof.read(bundle)  # nothing was changed


def test_a_part_of_the_mistakes_is_no_part_of_a_proof(bundle):
    for more in (("--only", "argmax"), ("--perturb", "5")):
        ran = llorch("prove", "-o", bundle, *more)
        assert ran.returncode == 2
        assert "-o goes with all mistakes" in ran.stderr


def test_fewer_than_one_process_is_refused():
    ran = llorch("verify", "--jobs", "0")
    assert ran.returncode == 2
    assert "--jobs is 0" in ran.stderr


def test_where_a_proof_was_made_is_told_by_commit_and_changes(bundle):
    git = json.loads((bundle / "manifest.json").read_text())["git"]
    here = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    assert git["commit"] == here.stdout.strip()
    assert git["dirty"] == bool(git["changed"])
