"""llorch generate --batch: each line as it would be alone, none lost and none twice, whatever is killed."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from llorch_core.cli import generate_batch
from llorch_core.cli.generate import command
from llorch_core.engine.errors import UsageError
from llorch_core.engine.model import load
from llorch_core.engine.sampling import Sampling
from llorch_core.engine.speculation import Lookup

ROOT = Path(__file__).parents[2]
TEXTS = ["To be", "ROMEO:", "O", "My lord,\nwhat is the matter?", "What", "Who's there?", "All:\n", "Now is"]
# No draw with this seed is nearer than 2e-5 to where another token begins: rounding changes none of them.
SEED = 23


def write(path, entries):
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def batch(prompts, output, *options):
    """Run the command in this process; its result is its exit code."""
    return command.main(
        ["--batch", str(prompts), "-o", str(output), *map(str, options)], standalone_mode=False
    )


def results(output):
    """Return the result of each line by its number; each line is there once."""
    data = output.read_bytes()
    assert data.endswith(b"\n") or not data
    entries = [json.loads(row) for row in data.decode().splitlines()]
    found = {entry["line"]: entry for entry in entries}
    assert len(found) == len(entries)
    return found


def process(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "llorch_core", "generate", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


@pytest.fixture
def prompts(tmp_path):
    """Two dozen prompts of unequal lengths, with unequal numbers of tokens."""
    entries = [{"prompt": TEXTS[i % 8], "max_tokens": 4 + 7 * i % 23} for i in range(24)]
    return write(tmp_path / "prompts.jsonl", entries)


@pytest.fixture
def whole(tmp_path, prompts):
    """Results of a run that nothing interrupted."""
    output = tmp_path / "whole.jsonl"
    assert batch(prompts, output, "--seed", SEED) == 0
    return results(output)


def test_each_line_is_what_its_prompt_gets_alone_with_its_settings(tmp_path, capsys):
    model = load()
    entries = [
        {"prompt": "To be", "id": "first", "max_tokens": 12, "seed": 5},
        {"ids": [5, 6, 7], "id": 2, "max_tokens": 3, "temperature": 0},
        {"prompt": "ROMEO:", "seed": 6, "stop": ["e"], "top_k": 30, "top_p": 0.9, "repetition_penalty": 1.1},
        {"prompt": "Now", "max_tokens": None, "seed": 8},
    ]
    wanted = [
        model.generate("To be", Sampling(0.8, seed=5), 12),
        model.generate([5, 6, 7], Sampling(0, seed=0), 3),
        model.generate("ROMEO:", Sampling(0.8, 30, 0.9, 1.1, 6), 20, ["e"]),
        model.generate("Now", Sampling(0.8, seed=8), 20),
    ]
    output = tmp_path / "out.jsonl"
    assert batch(write(tmp_path / "prompts", entries), output, "--max-tokens", 20, "--seed", 1) == 0
    found = results(output)
    assert [found[n].get("id") for n in range(1, 5)] == ["first", 2, None, None]
    for number, made in enumerate(wanted, 1):
        for name in ("prompt_ids", "ids", "text", "finish_reason"):
            assert found[number][name] == getattr(made, name), (number, name)
    assert [found[n]["seed"] for n in (1, 3, 4)] == [5, 6, 8]
    assert "has all 4 lines: 0 were there, 4 were added" in capsys.readouterr().out


@pytest.mark.untraced
@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_the_batch_size_changes_no_line(size, tmp_path, prompts, whole):
    assert batch(prompts, tmp_path / "out", "--seed", SEED, "--batch-size", size) == 0
    assert results(tmp_path / "out") == whole


def test_the_seed_of_a_line_makes_it_again_and_depends_on_its_number(whole):
    model = load()
    assert len({entry["seed"] for entry in whole.values()}) == 24
    for entry in list(whole.values())[:5]:
        made = model.generate(entry["prompt_ids"], Sampling(0.8, seed=entry["seed"]), len(entry["ids"]))
        assert made.ids == entry["ids"]


def test_lines_stand_in_the_order_in_which_they_end(tmp_path):
    path = write(tmp_path / "p", [{"ids": [1], "max_tokens": n} for n in (9, 2, 5)])
    assert batch(path, tmp_path / "out", "--temperature", 0) == 0
    assert list(results(tmp_path / "out")) == [2, 3, 1]


def test_each_result_is_in_the_file_before_the_next_one_ends(tmp_path, prompts, monkeypatch):
    output, seen, result = tmp_path / "out", [], generate_batch.Line.result

    def look(line, completion):
        seen.append(output.read_bytes().count(b"\n"))
        return result(line, completion)

    monkeypatch.setattr(generate_batch.Line, "result", look)
    assert batch(prompts, output) == 0
    assert seen == list(range(24))


def test_blank_lines_are_no_prompts_and_are_counted(tmp_path):
    path = tmp_path / "p"
    path.write_text('\n{"ids": [1]}\r\n  \n{"ids": [2]}')
    assert batch(path, tmp_path / "out", "--max-tokens", 2) == 0
    assert set(results(tmp_path / "out")) == {2, 4}


def test_killed_at_any_moment_and_run_again_it_gives_what_an_uninterrupted_run_gives(
    tmp_path, prompts, whole
):
    output, chance, kills, most = tmp_path / "out.jsonl", random.Random(), 0, 5
    arguments = ["--batch", prompts, "-o", output, "--seed", SEED, "--batch-size", 3]
    while kills < most:
        running = process(*arguments)
        before = output.stat().st_size if output.exists() else 0
        while running.poll() is None and (not output.exists() or output.stat().st_size <= before):
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.02))
        running.send_signal(signal.SIGKILL)
        _, talk = running.communicate(timeout=60)
        kills += running.returncode == -signal.SIGKILL
        assert running.returncode in (0, -signal.SIGKILL), talk
        if running.returncode == 0:  # faster than the signal: the kills so far must do
            most = kills
        data = output.read_bytes()
        for row in data.split(b"\n")[:-1]:  # all but what may be torn
            assert json.loads(row) == whole[json.loads(row)["line"]]
        if chance.random() < 0.5 and b"\n" in data[:-1]:  # as if the last write had been cut
            os.truncate(output, chance.randint(data[:-1].rindex(b"\n") + 1, len(data)))
    assert kills >= 2
    process(*arguments).communicate(timeout=60)
    assert results(output) == whole


@pytest.mark.untraced
def test_a_torn_last_line_is_made_again_wherever_it_is_torn(tmp_path, prompts, whole):
    output = tmp_path / "out"
    batch(prompts, output, "--seed", SEED)
    data = output.read_bytes()
    begin = data[:-1].rindex(b"\n") + 1
    for end in range(begin, len(data), 7):
        output.write_bytes(data[:end])
        assert batch(prompts, output, "--seed", SEED) == 0
        assert results(output) == whole


def test_a_finished_run_adds_nothing(tmp_path, prompts, capsys):
    output = tmp_path / "out"
    batch(prompts, output, "--seed", SEED)
    before = output.read_bytes()
    assert batch(prompts, output, "--seed", SEED, "--json") == 0
    assert output.read_bytes() == before
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["lines"], found["added"], found["tokens"]) == (24, 0, 0)


def test_prompts_that_were_added_to_the_end_are_continued(tmp_path, prompts, whole):
    lines = prompts.read_text().splitlines(keepends=True)
    prompts.write_text("".join(lines[:10]))
    batch(prompts, tmp_path / "out", "--seed", SEED)
    assert len(results(tmp_path / "out")) == 10
    prompts.write_text("".join(lines))
    batch(prompts, tmp_path / "out", "--seed", SEED)
    assert results(tmp_path / "out") == whole


def refused(prompts, output, *options):
    """Return the message of a run that must change nothing."""
    before = output.read_bytes() if output.is_file() else None
    with pytest.raises(UsageError) as caught:
        batch(prompts, output, *options)
    assert (output.read_bytes() if output.is_file() else None) == before
    return str(caught.value)


@pytest.mark.untraced
@pytest.mark.parametrize(
    "change",
    [
        ["--seed", 8],
        ["--seed", SEED, "--temperature", 0.7],
        ["--seed", SEED, "--top-k", 5],
        ["--seed", SEED, "--stop", "x"],
        [],
    ],
)
def test_results_of_other_settings_are_refused_and_kept(tmp_path, prompts, whole, change):
    message = refused(prompts, tmp_path / "whole.jsonl", *change)
    assert "whole.jsonl:1 was made with another prompt, setting or model than" in message
    assert "Nothing was changed" in message


def test_results_of_another_prompt_are_refused_and_kept(tmp_path, prompts, whole):
    lines = prompts.read_text().splitlines(keepends=True)
    prompts.write_text("".join([*lines[:3], '{"prompt": "Another", "max_tokens": 25}\n', *lines[4:]]))
    assert "prompts.jsonl:4 has now" in refused(prompts, tmp_path / "whole.jsonl", "--seed", SEED)
    prompts.write_text("".join(lines[:3]))
    assert "is a result of line" in refused(prompts, tmp_path / "whole.jsonl", "--seed", SEED)


def test_results_of_another_model_are_refused_and_kept(tmp_path, tiny_folder, tiny_tensors):
    tensors = tiny_tensors()
    first = tiny_folder(tensors)
    tensors["h.1.mlp.c_proj.bias"][-1] += 1
    second = tiny_folder(tensors)
    path, output = write(tmp_path / "p", [{"ids": [1, 2]}]), tmp_path / "out"
    batch(path, output, "--model", first, "--seed", 1)
    assert "or model" in refused(path, output, "--model", second, "--seed", 1)
    assert batch(path, output, "--model", first, "--seed", 1) == 0


def test_results_in_another_precision_are_other_results(tmp_path, prompts):
    model = load()
    settings = generate_batch.Settings(Sampling(), None, (), False, 0)
    before = generate_batch.read_lines(model, prompts, settings)
    digests = set()
    for kind in ("float32", "bfloat16", "int8"):
        model.forward = SimpleNamespace(kind=kind)  # nothing is computed yet
        lines = generate_batch.read_lines(model, prompts, settings)
        assert (lines[0].digest == before[0].digest) is (kind == "float32")
        digests.add(lines[0].digest)
    assert len(digests) == 3


def test_a_large_file_is_known_again_by_blocks_of_it(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(bytes(3_000_000))
    first = generate_batch.fingerprint(tmp_path)
    assert generate_batch.fingerprint(tmp_path) == first
    for place in (0, 2_999_999):
        path.write_bytes(bytes(place) + b"x" + bytes(2_999_999 - place))
        assert generate_batch.fingerprint(tmp_path) != first
    (tmp_path / "notes.md").write_text("no part of the model")
    path.write_bytes(bytes(3_000_000))
    assert generate_batch.fingerprint(tmp_path) == first


@pytest.mark.parametrize(
    "content",
    [
        b"my only notes",
        b"my only notes\n",
        b'{"line": 1}\n',
        b'{"line": 1, "digest": "0123456789abcdef", "prompt_ids": [1',
        b"[1]\n",
        b"\xff\n",
        b"\n",
    ],
)
def test_a_file_that_holds_something_else_is_refused_and_kept(tmp_path, prompts, content):
    (tmp_path / "out").write_bytes(content)
    assert "Nothing was changed" in refused(prompts, tmp_path / "out")


def test_a_result_that_is_there_twice_is_refused(tmp_path, prompts, whole):
    output = tmp_path / "whole.jsonl"
    output.write_bytes(output.read_bytes() + output.read_bytes().splitlines(keepends=True)[3])
    assert "whole.jsonl:25 is the second result of line" in refused(prompts, output, "--seed", SEED)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (b"To be", "it is no JSON"),
        (b"[" * 100_000, "it is no JSON"),
        (b"\xff", "not UTF-8 at byte 0"),
        (b'"To be"', "it has no prompt, or two"),
        (b"{}", "it has no prompt, or two"),
        (b'{"prompt": "O", "ids": [1]}', "it has no prompt, or two"),
        (b'{"prompt": ["O"]}', "prompt is ['O'] (wanted a text)"),
        (b'{"prompt": ""}', "at least one id"),
        (b'{"prompt": "\\ud800"}', "wanted"),
        (b'{"ids": []}', "at least one id"),
        (b'{"ids": "1, 2"}', "wanted a list of token ids"),
        (b'{"ids": null}', "wanted a list of token ids"),
        (b'{"ids": [1, 2.5]}', "wanted a list of token ids"),
        (b'{"ids": [true]}', "wanted a list of token ids"),
        (b'{"ids": [99999]}', "holds the id 99999"),
        (b'{"ids": [-1]}', "holds the id -1"),
        (b'{"ids": [1000000000000000000000]}', "wanted a list of token ids"),
        (b'{"prompt": "O", "max_token": 5}', "max_token, which means nothing here"),
        (b'{"prompt": "O", "max_tokens": 0}', "max_tokens is 0"),
        (b'{"prompt": "O", "max_tokens": 999}', "max_tokens is 999"),
        (b'{"prompt": "O", "max_tokens": "5"}', "max_tokens is '5'"),
        (b'{"prompt": "O", "temperature": -1}', "temperature is -1"),
        (b'{"prompt": "O", "temperature": NaN}', "temperature is nan"),
        (b'{"prompt": "O", "temperature": "hot"}', "temperature is 'hot'"),
        (b'{"prompt": "O", "top_k": 1.5}', "top_k is 1.5"),
        (b'{"prompt": "O", "top_p": 0}', "top_p is 0"),
        (b'{"prompt": "O", "repetition_penalty": 0}', "repetition_penalty is 0"),
        (b'{"prompt": "O", "seed": -1}', "seed is -1"),
        (b'{"prompt": "O", "stop": "x"}', "stop is 'x'"),
        (b'{"prompt": "O", "stop": [""]}', "stop is ['']"),
        (b'{"prompt": "O", "id": [1]}', "id is [1]"),
    ],
)
def test_a_bad_line_is_named_before_any_work(tmp_path, row, words):
    path, output = tmp_path / "p.jsonl", tmp_path / "out"
    path.write_bytes(b'{"prompt": "To be"}\n\n' + row + b"\n")
    message = refused(path, output)
    assert f"{path}:3: " in message
    assert words in message
    assert not output.exists()


def test_files_that_cannot_be_used_are_named(tmp_path, prompts):
    assert "nowhere cannot be read" in refused(tmp_path / "nowhere", tmp_path / "out")
    assert "has no prompts" in refused(write(tmp_path / "empty", []), tmp_path / "out")
    assert "cannot be written" in refused(prompts, tmp_path)
    assert "is the file of prompts" in refused(prompts, prompts)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["O", "--batch", "p", "-o", "o"], "a prompt or --ids is given"),
        (["--ids", "--batch", "p", "-o", "o"], "a prompt or --ids is given"),
        (["--batch", "p"], "wanted -o FILE"),
        (["O", "-o", "o"], "-o is of a batch"),
        (["O", "--batch-size", "3"], "--batch-size is of a batch"),
        (["--batch", "p", "-o", "o", "--batch-size", "0"], "--batch-size is 0"),
        (["O", "--speculate", "-1"], "speculate is -1"),
    ],
)
def test_options_that_contradict_each_other_are_refused(arguments, words):
    with pytest.raises(UsageError) as caught:
        command.main(arguments, standalone_mode=False)
    assert words in str(caught.value)


def test_a_second_run_does_not_write_into_the_file_of_the_first(tmp_path, prompts):
    import fcntl

    output = tmp_path / "out"
    with output.open("ab") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        assert "another run is writing" in refused(prompts, output)
    assert batch(prompts, output) == 0


def test_a_refusal_of_the_process_is_one_message_and_exit_code_2(tmp_path):
    running = process("--batch", write(tmp_path / "p", [{"prompt": 3}]), "-o", tmp_path / "out")
    out, talk = running.communicate(timeout=60)
    assert (running.returncode, out) == (2, "")
    assert talk.startswith(f"error: {tmp_path / 'p'}:1: prompt is 3")
    assert "Traceback" not in talk


def test_caches_take_a_quarter_of_the_memory_at_most(monkeypatch, tmp_path, prompts):
    model = load()
    settings = generate_batch.Settings(Sampling(), None, (), False, 0)
    lines = generate_batch.read_lines(model, write(tmp_path / "p", [{"ids": [1] * 129}]), settings)
    c = model.config
    cache = 2 * c.n_layer * c.n_embd * min(129 + 128, c.n_ctx + 1) * 4
    for memory, wanted in ((0, 1), (4 * cache * 5, 5), (2**50, 32)):
        monkeypatch.setattr(generate_batch, "memory", lambda memory=memory: memory)
        assert generate_batch.affordable(model, lines) == wanted
    monkeypatch.undo()
    assert generate_batch.memory() > 2**27


def test_a_terminal_sees_how_far_it_is(tmp_path, prompts, on_terminal):
    arguments = ["generate", "--batch", str(prompts), "-o", str(tmp_path / "out")]
    ran = on_terminal(*arguments, stdout=subprocess.DEVNULL, COLUMNS="100")
    assert ran.returncode == 0
    assert "/24" in ran.stdout
    assert re.search(r"[1-9][0-9,]* tokens/s", ran.stdout)


def test_drafts_change_no_line(tmp_path, monkeypatch):
    found, draft = [], Lookup.draft
    monkeypatch.setattr(Lookup, "draft", lambda *given: found.append(draft(*given)) or found[-1])
    path = write(tmp_path / "p", [{"prompt": text, "temperature": 0} for text in ("O, O, O, O,", "To be")])
    batch(path, tmp_path / "plain", "--max-tokens", 60, "--seed", 1, "--batch-size", 1)
    assert not found
    batch(path, tmp_path / "drafts", "--max-tokens", 60, "--seed", 1, "--batch-size", 1, "--speculate", 8)
    assert any(found)
    assert results(tmp_path / "plain") == results(tmp_path / "drafts")
