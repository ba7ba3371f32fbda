"""A bundle that somebody hands over: one byte that changed is found, and so is what does not add up."""

import json
import random
import shutil
import subprocess
import sys

import pytest

from llorch_core.gate.bundle import believe
from llorch_core.gate.covered import shares
from llorch_core.spec.suite import load_specs
from llorch_core.trace import proof
from llorch_core.trace.proof import ProofError
from tests.commands import llorch


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle of this very tree."""
    folder = tmp_path_factory.mktemp("bundle") / "proof"
    ran = llorch("verify", "-o", folder, "--component", "layer_norm")
    assert ran.returncode == 0, ran.stderr
    return folder


@pytest.fixture
def copy(bundle, tmp_path):
    shutil.copytree(bundle, tmp_path / "proof")
    return tmp_path / "proof"


def reasons(folder):
    return [(r.kind, r.what) for r in believe(folder, load_specs(), allow_dirty=True)[1]]


def reseal(folder, change):
    """Change what a manifest says, and seal it again, as a forger would."""
    manifest = json.loads((folder / proof.MANIFEST).read_text())
    change(manifest)
    about = {k: v for k, v in manifest.items() if k not in ("files", proof.SEAL, "llorch_proof")}
    (folder / proof.UNFINISHED).write_text("{}")
    proof.seal(folder, about)


def rewrite(path, old, new, count=1):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, count))


@pytest.mark.untraced
def test_a_bundle_as_it_was_left_is_believed(bundle):
    trace, found = believe(bundle, load_specs(), allow_dirty=True)
    assert found == []
    assert trace["totals"]["scenarios"] > 5


def test_of_two_hundred_flipped_bits_each_is_found(copy):
    draw = random.Random(11)
    files = sorted(path for path in copy.rglob("*") if path.is_file())
    flipped = set()
    for k in range(200):
        path = files[k % len(files)] if k < 3 * len(files) else draw.choice(files)
        whole = path.read_bytes()
        at, bit = draw.randrange(len(whole)), 1 << draw.randrange(8)
        path.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
        assert reasons(copy), f"bit {bit} of byte {at} of {path.name}"
        path.write_bytes(whole)
        flipped.add(path.name)
    assert flipped == {path.name for path in files}
    assert reasons(copy) == []


def test_a_file_that_is_missing_or_that_nobody_listed_is_found(copy):
    (copy / "junit.xml").rename(copy / "other.xml")
    assert sorted(reasons(copy)) == [("incomplete", "junit.xml"), ("tampered", "other.xml")]


def test_a_bundle_that_was_not_finished_is_refused(copy):
    (copy / proof.UNFINISHED).write_text('{"llorch_proof": "1"}')
    assert reasons(copy) == [("incomplete", str(copy))]
    (copy / proof.MANIFEST).unlink()
    assert reasons(copy) == [("incomplete", str(copy))]


# A forger who seals again what was changed


@pytest.mark.untraced
def test_a_scenario_that_is_said_to_have_passed_is_held_against_its_evidence(copy):
    path = copy / "evidence" / "components" / "layer_norm.jsonl"
    rewrite(path, '"outside":0', '"outside":3')
    reseal(copy, lambda manifest: None)
    assert ("hidden", "features/components/layer_norm.feature:4") in reasons(copy)


def test_a_share_that_does_not_follow_from_got_wanted_and_tolerance_is_found(copy):
    path = copy / "evidence" / "components" / "layer_norm.jsonl"
    lines = path.read_bytes().splitlines()
    entry = json.loads(lines[0])
    entry["got"] += 1.0
    path.write_bytes(b"\n".join([proof.line_of(entry)[:-1], *lines[1:]]) + b"\n")
    reseal(copy, lambda manifest: None)
    assert "hidden" in {kind for kind, _ in reasons(copy)}


def test_evidence_that_was_taken_out_is_missed(copy):
    path = copy / "evidence" / "components" / "layer_norm.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[1:]))
    reseal(copy, lambda manifest: None)
    assert "tampered" in {kind for kind, _ in reasons(copy)}


def test_a_whole_scenario_that_was_taken_out_is_missed(copy):
    path = copy / "evidence" / "components" / "layer_norm.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    first = 1 + next(i for i, line in enumerate(lines) if b'"kind":"scenario"' in line)
    path.write_bytes(b"".join(lines[first:]))
    reseal(copy, lambda manifest: None)
    assert "miscounted" in {kind for kind, _ in reasons(copy)}


@pytest.mark.untraced
def test_counts_that_are_not_those_of_the_features_are_found(copy):
    reseal(copy, lambda manifest: manifest.update(collected=3))
    assert ("miscounted", "manifest.json") in reasons(copy)


def test_something_not_run_is_not_hidden(copy):
    path = copy / "evidence" / "components" / "layer_norm.jsonl"
    rewrite(path, '"status":"passed"', '"status":"not run"')
    reseal(copy, lambda manifest: None)
    found = reasons(copy)
    assert ("hidden", "manifest.json") in found
    assert ("hidden", "verdicts.json") in found


@pytest.mark.untraced
def test_verdicts_junit_and_report_must_follow_from_the_evidence(copy):
    for name, old, new in (
        ("verdicts.json", '"passed"', '"proved"'),
        ("junit.xml", "<testcase ", "<testcase  "),
        ("report.html", "layer_norm", "layer_form"),
    ):
        rewrite(copy / name, old, new)
    reseal(copy, lambda manifest: None)
    assert reasons(copy) == [("hidden", "verdicts.json"), ("hidden", "junit.xml"), ("hidden", "report.html")]


def test_a_bundle_in_which_nothing_was_executed_is_refused(copy):
    for path in (copy / "evidence").rglob("*.jsonl"):
        path.write_bytes(b"")
    reseal(copy, lambda manifest: manifest.update(collected=0))
    assert ("nothing executed", "manifest.json") in reasons(copy)


def test_a_bundle_of_other_specs_is_told_and_not_counted_again(copy):
    reseal(copy, lambda manifest: manifest["suite"].update({"features/model/laws.feature": "another"}))
    assert reasons(copy) == [("other tree", "manifest.json")]


@pytest.mark.parametrize(
    ("git", "kinds"),
    [
        ({"commit": "a" * 40, "dirty": False, "changed": []}, []),
        ({"commit": "a" * 40, "dirty": True, "changed": ["x.py"]}, ["dirty tree"]),
        ({"commit": None, "dirty": None, "changed": []}, ["dirty tree"]),
    ],
)
def test_what_no_commit_holds_is_refused(copy, git, kinds):
    reseal(copy, lambda manifest: manifest.update(git=git))
    strict = [r.kind for r in believe(copy, load_specs())[1] if r.kind != "hidden"]
    assert strict == kinds


def test_a_folder_that_is_no_bundle_could_not_be_told(tmp_path):
    with pytest.raises(ProofError):
        believe(tmp_path, load_specs())


# Coverage


def test_lines_and_branches_are_counted_as_coverage_counts_them(tmp_path):
    (tmp_path / "half.py").write_text("def f(x):\n    if x:\n        return 1\n    return 2\n\n\nf(1)\n")
    command = [
        sys.executable,
        "-m",
        "coverage",
        "run",
        "--branch",
        "--data-file=data",
        "--source=.",
        "half.py",
    ]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=120)
    found = shares(tmp_path / "data", tmp_path / "none.toml")["package"]
    assert found.line == pytest.approx(80)
    assert found.branch == pytest.approx(50)
    assert shares(tmp_path / "nowhere", tmp_path / "none.toml") is None
    (tmp_path / "broken").write_text("no data")
    assert shares(tmp_path / "broken", tmp_path / "none.toml") is None
