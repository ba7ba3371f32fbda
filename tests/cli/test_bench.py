"""llorch bench: engines that are right are timed, one that is wrong has no speed. No time is judged here."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from llorch_core.cli.bench import command

ROOT = Path(__file__).parents[2]
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
        return [self.decode(prompt, count, lambda: None) for prompt in prompts]
    def logits(self, prompt):
        return self.model.logits(prompt, "last")[0].tobytes()

serve(Peer)
"""


def bench(*arguments):
    given = ["--shape", "embedded", "--rounds", "1", *map(str, arguments)]
    ran = CliRunner().invoke(command, given, standalone_mode=False)
    assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exception
    return ran


@pytest.fixture
def peers(tmp_path):
    def made(spoil="pass", name="other"):
        (tmp_path / f"{name}_peer.py").write_text(PEER.format(root=str(ROOT), spoil=spoil))
        return tmp_path

    return made


def test_a_right_engine_is_timed_and_everything_that_was_measured_is_told(peers, tmp_path):
    page, picture = tmp_path / "page.md", tmp_path / "roof.svg"
    page.write_text("# How fast\n")
    ran = bench(
        *("--engines", "numpy,other-float32,other-int8", "--peers", peers()),
        *("--json", "--markdown", page, "--svg", picture),
    )
    found = json.loads(ran.stdout)
    assert "other" in page.read_text()
    assert picture.read_text().lstrip().startswith("<svg")
    text = json.dumps(found)
    assert "it has float32 alone" in text


def test_an_engine_whose_tokens_are_wrong_has_no_speed(peers):
    ran = bench("--engines", "other-float32", "--peers", peers("ids[-1] = (ids[-1] + 1) % 1000"))
    assert ran.return_value == 1, ran.output
    assert "WRONG" in ran.output.upper()


def test_an_engine_that_ends_itself_is_told_and_the_others_go_on(peers):
    ran = bench("--engines", "numpy,other-float32", "--peers", peers("sys.exit(3)"))
    assert "numpy-float32" in ran.output
    assert "other" in ran.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--engines", "nothing"], "nothing"),
        (["--rounds", "0"], "--rounds is 0"),
        (["--peers", "nowhere"], "nowhere"),
    ],
)
def test_a_wrong_use_is_told(arguments, said):
    ran = CliRunner().invoke(command, arguments)
    assert said in str(ran.exception) + ran.output
