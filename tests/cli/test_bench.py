"""llorch bench as a user meets it: what is right is timed, what is wrong has no speed. No time is judged."""

import json
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest
from click.testing import CliRunner

from llorch_core.bench.harness import Phase
from llorch_core.cli.bench import command
from llorch_core.engine.errors import UsageError

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "specs" / "schema" / "bench.schema.json").read_text(encoding="utf-8"))
PEER = """
import sys, time
import numpy as np
sys.path.insert(0, {root!r})
from llorch_core.bench.protocol import Unable, serve
from llorch_core.engine.model import load as load_model
print("what an engine prints is no answer")

class Peer:
    engine, version, precision, load_s = "peer", "1", "float32", 0.0
    def __init__(self, request):
        if request["precision"] != "float32":
            raise Unable("it has float32 alone")
        self.model = load_model(request["model"])
    def decode(self, prompt, count, on_first):
        ids, cache, new = [], self.model.new_cache(), list(prompt)
        for n in range(count):
            new = [int(self.model.logits(new, "last", cache)[0].argmax())]
            ids.append(new[0])
            if n == 0:
                on_first()
        {spoil}
        return ids
    def prefill(self, prompt):
        return int(self.model.logits(prompt, "last")[0].argmax())
    def batch(self, prompts, count):
        raise Unable("it reads one prompt at a time")
    def logits(self, prompt):
        return (self.model.logits(prompt, "last")[0] * {gain}).tobytes()

serve(Peer)
"""


def bench(*arguments):
    """Return exit code, standard output and its object of JSON."""
    given = ["--shape", "embedded", "--rounds", "1", "--threads", "1", "--json", *map(str, arguments)]
    ran = CliRunner().invoke(command, given, standalone_mode=False, catch_exceptions=False)
    return ran.return_value, json.loads(ran.stdout)


def refused(*arguments):
    """Return what a wrong use is told."""
    given = ["--shape", "embedded", *map(str, arguments)]
    with pytest.raises(UsageError) as told:
        CliRunner().invoke(command, given, standalone_mode=False, catch_exceptions=False)
    return str(told.value)


@pytest.fixture
def peers(tmp_path):
    """peers(spoil, gain, name) -> a folder with an adapter of the model, right unless it is spoilt."""

    def made(spoil="pass", gain="1", name="other"):
        text = PEER.format(root=str(ROOT), spoil=spoil, gain=gain)
        (tmp_path / f"{name}_peer.py").write_text(text)
        return tmp_path

    return made


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """One run of our engine and a right peer: exit code, object, page and picture."""
    folder = tmp_path_factory.mktemp("bench")
    (folder / "other_peer.py").write_text(PEER.format(root=str(ROOT), spoil="pass", gain="1"))
    page, picture = folder / "page.md", folder / "roof.svg"
    code, found = bench(
        *("--engines", "numpy,other-float32,other-int8", "--peers", folder),
        *("--markdown", page, "--svg", picture),
    )
    return code, found, page.read_text(encoding="utf-8"), picture.read_text(encoding="utf-8")


def test_the_json_keeps_to_its_schema(found):
    code, told, _, _ = found
    jsonschema.Draft202012Validator(SCHEMA).validate(told)
    assert (code, told["verdict"], told["rounds"]) == (0, "right", 1)
    assert [job["measure"] for job in told["jobs"]] == ["decode", "prefill", "batch 8"]


def test_a_right_engine_has_every_measure_that_it_can_and_its_ids_are_counted(found):
    ours, other, absent = found[1]["engines"]
    assert {*ours["measures"]} >= {"decode", "prefill", "batch 8", "first", "cold", "load"}
    assert (ours["status"], ours["error"], ours["agreed"]) == ("timed", 0, ours["of"])
    assert other["status"] == "timed"
    assert other["agreed"] == other["of"] == 128 + 1
    assert "batch 8" not in other["measures"]
    assert other["unable"] == {"batch 8": "it reads one prompt at a time"}
    assert (absent["status"], absent["reason"]) == ("cannot", "it has float32 alone")
    compared = {(r["engine"], r["measure"]): r["peer"] for r in found[1]["against_peers"]}
    assert compared == {(ours["engine"], m): "other-float32" for m in ("decode", "prefill")}


def test_the_page_shows_engines_limits_and_targets_and_no_path(found):
    page = found[2]
    assert page.startswith("# How fast llorch is\n")
    assert (
        "`llorch bench --shape embedded --engines numpy,other-float32,other-int8 --rounds 1 --threads 1`"
        in page
    )
    assert "- other-int8: not run: it has float32 alone" in page
    assert "| **numpy-float32** | " in page
    assert str(ROOT) not in page


def test_the_picture_is_svg_with_a_point_for_each_engine_and_job(found):
    tree = ElementTree.fromstring(found[3])
    titles = [node.text for node in tree.iter("{http://www.w3.org/2000/svg}title")]
    for told in ("numpy-float32, decode", "numpy-float32, batch 8", "other-float32, prefill"):
        assert sum(title.startswith(f"{told}: ") for title in titles) == 1
    assert "prefers-color-scheme:dark" in found[3]


@pytest.mark.parametrize(
    ("spoil", "gain", "said"),
    [
        ("ids[9] = (ids[9] + 1) % 1000", "1", "decode: id 9 is "),
        ("ids = ids[:-1]", "1", "it gives 127 ids (wanted 128)"),
        ("pass", "1.01", "its logits are off by "),
    ],
)
def test_an_engine_that_is_wrong_has_no_speed_and_it_is_told_where(peers, spoil, gain, said):
    folder = peers(spoil, gain)
    page = folder / "page.md"
    code, told = bench("--engines", "other-float32", "--peers", folder, "--markdown", page)
    jsonschema.Draft202012Validator(SCHEMA).validate(told)
    (engine,) = told["engines"]
    assert (code, told["verdict"], engine["status"]) == (1, "wrong", "wrong")
    assert engine["measures"] == engine["of_limit"] == {}
    assert said in engine["reason"]
    assert f"- other-float32: WRONG: no speed is shown: {engine['reason']}" in page.read_text(
        encoding="utf-8"
    )


def test_one_that_dies_is_told_and_the_others_are_timed(peers):
    code, told = bench("--engines", "numpy,other-float32", "--peers", peers("sys.exit('out of luck')"))
    ours, other = told["engines"]
    assert (code, ours["status"], other["status"]) == (0, "timed", "failed")
    assert other["reason"] == "it ended with exit code 1: out of luck"


def test_the_table_says_wrong_in_the_place_of_a_speed(peers):
    given = [
        "--shape",
        "embedded",
        "--rounds",
        "1",
        "--threads",
        "1",
        "--engines",
        "other-float32",
        "--peers",
    ]
    ran = CliRunner().invoke(command, [*given, str(peers("ids[0] = 7"))], standalone_mode=False)
    line = next(line for line in ran.stdout.splitlines() if line.startswith("other-float32"))
    assert line.split() == ["other-float32", "WRONG"]
    assert "WRONG other-float32: decode: id 0 is 7 " in ran.stdout


def test_the_harness_is_told_in_the_same_page_and_by_the_same_schema(monkeypatch, tmp_path):
    phases = (Phase("every spec", ("spec", "list")), Phase("nothing", ("diagnose", "nowhere.npz")))
    monkeypatch.setattr("llorch_core.bench.harness.measure.__defaults__", (phases,))
    page = tmp_path / "page.md"
    code, told = bench("--harness", "--markdown", page)
    jsonschema.Draft202012Validator(SCHEMA).validate(told)
    assert code == 0
    assert [c["seconds"] is None for c in told["commands"]] == [False, True]
    assert "| embedded | `llorch spec list` | every spec | " in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--engines", "gpu"], "there is no engine 'gpu' here"),
        (["--rounds", "0"], "--rounds is 0"),
        (["--threads", "0"], "--threads 0"),
        (["--peers", "nowhere"], "--peers nowhere is no folder"),
        (["--harness", "--svg", "roof.svg"], "--svg draws engines"),
    ],
)
def test_a_wrong_use_is_told_before_anything_is_timed(arguments, said):
    assert said in refused(*arguments)
