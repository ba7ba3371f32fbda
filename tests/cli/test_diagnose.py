"""llorch diagnose as a user meets it: its output, its exit code."""

import http.server
import json
import re
import threading
from pathlib import Path

import jsonschema
import pytest

from tests.commands import llorch

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "specs" / "schema" / "diagnosis.schema.json").read_text(encoding="utf-8"))
READ = ("--ids", "5,9,200,3,3,77,12", "--calls", "5,1,1")


def diagnose(*arguments, code):
    ran = llorch("diagnose", *arguments)
    assert ran.returncode == code, ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr
    return ran


def refused(*arguments):
    """Return the message of a call that must end with exit code 2 and no output."""
    ran = diagnose(*arguments, code=2)
    assert ran.stdout == ""
    return ran.stderr


def report(*arguments, code):
    found = json.loads(diagnose(*arguments, "--json", code=code).stdout)
    jsonschema.Draft202012Validator(SCHEMA).validate(found)
    return found


@pytest.fixture(scope="module")
def dump(tmp_path_factory):
    """A dump of our own engine: a prompt of five ids, and two single ones."""
    path = tmp_path_factory.mktemp("dumps") / "mine.safetensors"
    assert llorch("record", *READ, "-o", path).returncode == 0
    return path


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """What --json printed of an engine with the wrong activation."""
    path = tmp_path_factory.mktemp("earlier") / "old.json"
    path.write_text(diagnose("--engine", "spec:mlp.erf_gelu", *READ, "--json", code=1).stdout)
    return path


def test_the_help_text_opens_with_a_sentence_and_ends_with_an_example():
    lines = [line.strip() for line in llorch("diagnose", "--help").stdout.splitlines() if line.strip()]
    assert lines[1] == "Find the first wrong number of an engine, and the mistake that made it."
    assert lines[-1].startswith("Example: llorch diagnose ")


def test_an_honest_dump_conforms(dump):
    ran = diagnose(dump, code=0)
    assert "every element that was recorded is within its tolerance" in ran.stdout
    last = ran.stdout.splitlines()[-1]
    assert last.startswith("mine.safetensors with shakespeare conforms: 201 checkpoints, ")
    assert last.endswith("exit code 0")
    assert "\x1b[" not in ran.stdout
    assert ran.stderr == ""


@pytest.mark.untraced
def test_an_engine_with_a_mistake_is_told_where_and_which_and_what_to_do():
    text = diagnose("--engine", "spec:mlp.erf_gelu", code=1).stdout
    assert re.search(r"^first wrong number +step 0, block 0, h\.0\.mlp\.act \[\d+, \d+\]: got ", text, re.M)
    assert re.search(r"^ +everything before it conforms: 14 checkpoints, ", text, re.M)
    assert re.search(r"^the mistake +mlp\.erf_gelu: ", text, re.M)
    assert re.search(
        r"^also wrong +h\.N\.mlp\.act in every block at every step: the same mistake", text, re.M
    )
    assert re.search(r"^next +Use the activation that the config names", text, re.M)
    assert "wrong   act: 0.5 * fc * (1 + erf(fc / sqrt(2)))" in text
    assert text.splitlines()[-1].endswith("exit code 1")


@pytest.mark.untraced
def test_without_a_prompt_an_engine_uses_its_cache():
    found = report("--engine", "spec:cache.past_forgotten", code=1)
    assert len(found["reading"][0]) > 2
    assert found["first_divergence"]["step"] == 1
    assert found["first_divergence"]["component"] == "cache"


def test_json_is_one_object_of_the_schema():
    found = report("--engine", "spec:layer_norm.sample_variance", *READ, code=1)
    assert found["verdict"] == "diverges"
    assert found["reading"] == [[[5, 9, 200, 3, 3], [77], [12]]]
    assert found["first_divergence"]["checkpoint"] == "h.0.ln_1"
    assert found["causes"][0]["mistake"] == "layer_norm.sample_variance"
    assert found["progress"] is None


def test_a_prompt_is_read_by_the_tokenizer_of_the_model():
    found = report("--engine", "numpy", "--prompt", "To be, or not to be", code=0)
    assert len(found["reading"][0]) == 1
    assert len(found["reading"][0][0]) > 3


@pytest.mark.untraced
def test_a_dump_is_held_to_the_ids_that_were_asked_for(dump):
    assert report(dump, "--ids", "5,9,200,3,3,77,12", code=0)["verdict"] == "conforms"
    assert report(dump, *READ, code=0)["verdict"] == "conforms"
    found = report(dump, "--ids", "5,9,200,3,3,77,13", code=2)
    assert "step 2 read the ids [12]" in found["reason"]
    text = diagnose(dump, "--ids", "5,9,200", code=2).stdout
    assert text.startswith("could not tell")


def test_a_fix_is_progress_if_the_first_wrong_number_is_later_or_gone(earlier):
    before = ("--before", earlier)
    assert report("--engine", "numpy", *READ, *before, code=0)["progress"]["verdict"] == "gone"
    found = report("--engine", "spec:gpt2.final_norm_left_out", *READ, *before, code=1)["progress"]
    assert (found["verdict"], found["before"]["checkpoint"], found["after"]["checkpoint"]) == (
        "later",
        "h.0.mlp.act",
        "logits",
    )
    text = diagnose("--engine", "spec:mlp.erf_gelu", *READ, *before, code=1).stdout
    assert re.search(r"^since then +as before: step 0, h\.0\.mlp\.act", text, re.M)


@pytest.mark.untraced
def test_an_earlier_diagnosis_of_something_else_is_refused(earlier, tmp_path):
    assert "has another reading" in refused("--engine", "numpy", "--before", earlier)
    changed = json.loads(earlier.read_text())
    for key, value in (("model", "gpt2-xl"), ("precision", "float16")):
        path = tmp_path / f"{key}.json"
        path.write_text(json.dumps({**changed, key: value}))
        assert f"has another {key}" in refused("--engine", "numpy", *READ, "--before", path)
    for text, named in (("{}", "is no diagnosis"), ("[", "cannot be read"), ("\x00", "cannot be read")):
        (tmp_path / "bad.json").write_text(text)
        assert named in refused("--engine", "numpy", "--before", tmp_path / "bad.json")
    assert "cannot be read" in refused("--engine", "numpy", "--before", tmp_path / "none.json")
    undecided = {**changed, "verdict": "undecided", "reason": "too little", "first_divergence": None}
    (tmp_path / "u.json").write_text(json.dumps(undecided))
    assert "could not tell: too little" in refused("--engine", "numpy", "--before", tmp_path / "u.json")


def test_the_page_is_written_beside_the_output(tmp_path):
    path = tmp_path / "report.html"
    diagnose("--engine", "spec:attention_scores.mask_left_out", *READ, "--html", path, code=1)
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "attention_scores.mask_left_out" in text
    assert text.count("data:image/png;base64,") == 4  # one for each head
    assert len(text) < 300_000


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "nothing to diagnose (wanted one of DUMP, --engine and --tokens)"),
        (["a.npz", "--engine", "numpy"], "there is DUMP and --engine"),
        (["nowhere.safetensors"], "nowhere.safetensors: does not exist"),
        (["--engine", "cuda"], "there is no engine cuda"),
        (["--engine", "numpy", "--model", "nowhere"], "nowhere"),
        (["--engine", "numpy", "--prompt", "a", "--ids", "1"], "--prompt and --ids"),
        (["--engine", "numpy", "--ids", "1,2,3", "--calls", "2,2"], "--calls is 2,2"),
        (["--engine", "numpy", "--ids", "99999"], "99999"),
        (["--engine", "numpy", "--html", "no/folder/a.html"], "--html is no/folder/a.html"),
        (["--tokens", "1,2"], "one of --prompt and --ids"),
        (["--tokens", "1,2", "--ids", "1", "--html", "a.html"], "--html is about tensors"),
        (["--tokens", "1,b", "--ids", "1"], "wanted ids"),
    ],
)
def test_what_cannot_be_done_is_refused_before_any_work(arguments, named):
    assert named in refused(*arguments)


def test_a_page_that_cannot_be_written_is_an_error_behind_the_answer():
    ran = diagnose("--engine", "numpy", *READ, "--html", "/dev/full", code=2)
    assert "conforms" in ran.stdout
    assert "--html /dev/full cannot be written: No space left" in ran.stderr


def test_calls_without_ids_are_refused_for_a_dump(dump):
    assert "--calls is 5,1,1" in refused(dump, "--calls", "5,1,1")


@pytest.mark.untraced
def test_an_engine_that_shows_text_only_is_held_to_the_likeliest_tokens():
    made = json.loads(llorch("generate", "To be", "--temperature", 0, "--max-tokens", 6, "--json").stdout)[
        "ids"
    ]
    right = diagnose("--tokens", ",".join(map(str, made)), "--prompt", "To be", code=0)
    assert "conforms" in right.stdout
    given = ("--tokens", ",".join(map(str, made)), "--prompt", "To be")
    far = diagnose(*given, "--logprobs=" + ",".join(["-9"] * 6), code=1)
    assert "log-probability -9" in far.stdout
    assert "wanted one for each" in diagnose(*given, "--logprobs=-1", code=2).stderr
    assert "wanted numbers" in diagnose(*given, "--logprobs=x", code=2).stderr
    made[2] = (made[2] + 1) % 500
    found = json.loads(
        diagnose("--tokens", ",".join(map(str, made)), "--prompt", "To be", "--json", code=1).stdout
    )
    assert (found["level"], found["first_divergence"]["number"]) == ("text", 3)


def test_an_engine_at_an_address_is_asked_and_held_to_the_likeliest_tokens():
    made = json.loads(llorch("generate", "To be", "--temperature", 0, "--max-tokens", 48, "--json").stdout)[
        "ids"
    ]

    class Server(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps({"choices": [{"text": "", "token_ids": made}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        ran = diagnose("--engine", address, "--prompt", "To be", code=0)
        server.shutdown()
    assert "48 tokens" in ran.stdout
    assert "--prompt" in refused("--engine", address)
    assert address in refused("--engine", address, "--prompt", "To be")  # nobody is there any more
