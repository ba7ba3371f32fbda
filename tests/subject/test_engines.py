"""Engines of others on trial: classes, programs, dumps and transformers, right, wrong and unusable."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from textwrap import dedent, indent

import numpy as np
import pytest
from safetensors.numpy import save_file

from llorch_core.engine.errors import UsageError
from llorch_core.spec.errors import SpecError
from llorch_core.subject.dump import write_dump
from llorch_core.subject.engines import put_on_trial
from llorch_core.subject.foreign import EngineError
from llorch_core.subject.numpy_engine import NumpyEngine
from llorch_core.subject.program import PLACES
from llorch_core.subject.protocol import NotHereError
from llorch_core.trace.session import CrashError, Session
from tests.commands import llorch

ROOT = Path(__file__).parents[2]
LLORCH = f"{sys.executable} -m llorch_core"
EXAMPLE = f"env -u COVERAGE_PROCESS_START {sys.executable}"  # it runs none of ours, once for each call
RIGHT = ROOT / "examples" / "my_gpt2.py"
CHUNKS = [[1, 2, 3], [4, 5], [6]]
HAS_TORCH = all(importlib.util.find_spec(name) for name in ("torch", "transformers"))


def verify(engine, folder, *options):
    """Return the exit code of `llorch verify --json`, and the status of each rule."""
    words = ["verify", "--json", "--jobs", "1", "--engine", engine, "--model", folder]
    ran = llorch(*words, *options)
    assert "Traceback" not in ran.stderr
    found = json.loads(ran.stdout) if ran.stdout else {"rules": []}
    return ran.returncode, {rule["rule"]: rule["status"] for rule in found["rules"]}, ran.stderr


def agrees(steps, folder):
    """Hold every checkpoint of every call against our own engine's."""
    for step, wanted in zip(steps, NumpyEngine(folder).record(CHUNKS), strict=True):
        assert step.keys() == wanted.keys()
        for name, x in wanted.items():
            np.testing.assert_allclose(step[name], x, rtol=1e-4, atol=1e-5, err_msg=name)


# A Python class


@pytest.fixture
def engine_file(tmp_path):
    """engine_file(body) -> a file with a class MyGPT2 of this body; its `self.right` is a right engine."""

    def write(body, name="mine"):
        path = tmp_path / f"{name}.py"
        lines = [f"import sys; sys.path.insert(0, {str(RIGHT.parent)!r})", "import my_gpt2, numpy as np"]
        lines += ["class MyGPT2:", "    def __init__(self, folder): self.right = my_gpt2.MyGPT2(folder)"]
        path.write_text("\n".join(lines) + indent(dedent(f"\n{body}\n"), "    "))
        return f"python:{path}:MyGPT2"

    return write


def test_a_class_shows_what_it_computes(tiny_folder):
    folder = tiny_folder()
    subject = put_on_trial(f"python:{RIGHT}:MyGPT2", folder)
    assert subject.precision == "float32"
    agrees(subject.record(CHUNKS), folder)


def test_a_class_can_be_named_by_its_module(tiny_folder, monkeypatch):
    monkeypatch.chdir(RIGHT.parent)
    folder = tiny_folder()
    agrees(put_on_trial("python:my_gpt2:MyGPT2", folder).record(CHUNKS), folder)


@pytest.mark.untraced
def test_verify_passes_a_right_class_and_names_what_was_not_run(tiny_folder):
    code, rules, _ = verify(f"python:{RIGHT}:MyGPT2", tiny_folder())
    assert code == 0
    assert rules["gpt2.end_to_end"] == "passed"
    assert rules["cache.past_then_new"] == "passed"
    assert rules["gpt2.recording_changes_nothing"] == "not run"  # it has no way to read without recording
    assert rules["gpt2.batch_changes_nothing"] == "not run"
    assert rules["argmax.lowest_id_of_equals"] == "not run"
    assert set(rules.values()) == {"passed", "not run"}


@pytest.mark.parametrize(
    ("line", "wrong", "rule"),
    [
        ("x.var(-1, keepdims=True)", "x.var(-1, ddof=1, keepdims=True)", "layer_norm.each_position_alone"),
        ("1 + n_past)", "1)", "attention_scores.mask_counts_the_past"),
        (
            'w[f"{name}.weight"] + w[f"{name}.bias"]\n\n\ndef gelu',
            'w[f"{name}.weight"]\n\n\ndef gelu',
            "mlp.biases_added",
        ),
    ],
)
@pytest.mark.untraced
def test_verify_fails_a_class_with_one_wrong_line_by_its_rule(tiny_folder, tmp_path, line, wrong, rule):
    text = RIGHT.read_text()
    assert line in text
    (tmp_path / "wrong.py").write_text(text.replace(line, wrong))
    code, rules, _ = verify(f"python:{tmp_path}/wrong.py:MyGPT2", tiny_folder())
    assert code == 1
    assert rules[rule] == "failed"
    assert rules["residual.both_added"] == "passed"


def test_a_class_may_return_logits_alone(tiny_folder, engine_file):
    engine = engine_file(
        """
        def forward(self, ids, past):
            seen, past = self.right.forward(ids, past)
            return seen["logits"], past
        """
    )
    code, rules, _ = verify(engine, tiny_folder())
    assert code == 0
    assert {rules["logits.token_rows"], rules["gpt2.end_to_end"], rules["gpt2.chunks_change_nothing"]} == {
        "passed"
    }
    assert rules["layer_norm.each_position_alone"] == "not run"


def test_a_class_without_past_reads_whole_prompts_and_what_needs_a_past_is_not_run(tiny_folder, engine_file):
    engine = engine_file("def forward(self, ids):\n    return self.right.forward(ids, None)[0]")
    code, rules, _ = verify(engine, tiny_folder())
    assert code == 0
    assert {rules["gpt2.end_to_end"], rules["mlp.biases_added"], rules["attention_scores.causal"]} >= {
        "passed"
    }
    for rule in ("cache.past_then_new", "embedding.positions_follow_the_past", "gpt2.chunks_change_nothing"):
        assert rules[rule] == "not run"


def test_a_class_can_have_a_batch_and_a_way_without_recording(tiny_folder, engine_file):
    engine = engine_file(
        """
        def forward(self, ids, past):
            return self.right.forward(ids, past)

        def logits(self, ids, past):
            seen, past = self.right.forward(ids, past)
            return seen["logits"], past

        def batch(self, prompts):
            return [self.right.forward(ids, None)[0]["logits"][-1] for ids in prompts]
        """
    )
    code, rules, _ = verify(engine, tiny_folder())
    assert code == 0
    assert rules["gpt2.recording_changes_nothing"] == rules["gpt2.batch_changes_nothing"] == "passed"


def test_what_a_class_raises_on_trial_is_its_own_fault(tiny_folder, engine_file):
    body = """
    def forward(self, ids, past):
        if len(ids) > 4:
            raise ZeroDivisionError("of mine")
        return self.right.forward(ids, past)
    """
    subject = put_on_trial(engine_file(body), tiny_folder())
    with pytest.raises(CrashError, match=r"MyGPT2.forward raised ZeroDivisionError: of mine \(mine.py:8\)"):
        _ = Session(subject).record


def test_a_batch_axis_of_one_is_taken_off(tiny_folder, engine_file):
    folder = tiny_folder()
    body = """
    def forward(self, ids, past):
        seen, past = self.right.forward(ids, past)
        return {name: x[None] for name, x in seen.items()}, past
    """
    agrees(put_on_trial(engine_file(body), folder).record(CHUNKS), folder)


def test_a_buffer_that_is_used_again_does_not_spoil_what_was_recorded(tiny_folder, engine_file):
    body = """
    buffer = np.zeros((1, 12), np.float32)

    def forward(self, ids):
        self.buffer[:] = ids[0]
        return {"embed": self.buffer}
    """
    subject = put_on_trial(engine_file(body), tiny_folder())
    first, second = subject.record([[1]]), subject.record([[2]])
    assert first[0]["embed"][0, 0] != second[0]["embed"][0, 0]


@pytest.mark.parametrize("precision", ["float16", "float64"])
def test_the_precision_is_that_of_the_arrays_where_the_class_states_none(tiny_folder, engine_file, precision):
    body = f"def forward(self, ids): return np.ones((len(ids), 300), np.{precision})"
    assert put_on_trial(engine_file(body), tiny_folder()).precision == precision
    stated = engine_file(f"precision = 'bfloat16'\n{body}", "stated")
    assert put_on_trial(stated, tiny_folder()).precision == "bfloat16"


UNUSABLE = {  # body of the class, and what the message must name
    "no forward": ("pass", "has no method forward"),
    "no pair": ("def forward(self, ids, past): return {}", "returned a dict (wanted two things"),
    "unknown name": (
        "def forward(self, ids): return {'h.0.ln1': np.ones((1, 12))}",
        "'h.0.ln1' (wanted names",
    ),
    "near name": ("def forward(self, ids): return {'h.0.ln1': np.ones((1, 12))}", "such as h.0.ln_1"),
    "other block": ("def forward(self, ids): return {'h.7.ln_1': np.ones((1, 12))}", "'h.7.ln_1'"),
    "axes": ("def forward(self, ids): return np.ones(300)", "logits as float64 [300] (wanted 2 axes"),
    "whole numbers": ("def forward(self, ids): return np.ones((1, 300), int)", "logits as int64 [1, 300]"),
    "no array": ("def forward(self, ids): return {'logits': 'hello'}", "logits as "),
    "ragged": ("def forward(self, ids): return {'logits': [[1.0], [1.0, 2.0]]}", "logits"),
    "other ids": ("def forward(self, ids): return {'ids': [7]}", "shows the ids [7]"),
    "precision": ("precision = 'fp8'\ndef forward(self, ids): return {}", "states the precision 'fp8'"),
    "raises": ("def forward(self, ids): raise KeyError('wte')", "raised KeyError: 'wte' (mine.py:5)"),
    "raises when made": (
        "def __init__(self, folder): open(folder + '/x.bin')",
        "__init__ raised FileNotFound",
    ),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_class_that_is_no_engine_is_refused(tiny_folder, engine_file, kind):
    body, named = UNUSABLE[kind]
    with pytest.raises(UsageError) as error:
        put_on_trial(engine_file(body), tiny_folder())
    assert named in str(error.value)


@pytest.mark.parametrize(
    ("where", "named"),
    [
        ("", "wanted python:MODULE:CLASS"),
        ("my_gpt2", "wanted python:MODULE:CLASS"),
        ("nothing_of_the_kind:MyGPT2", "nothing_of_the_kind cannot be imported: ModuleNotFoundError"),
        ("nowhere/x.py:MyGPT2", "there is no file nowhere/x.py"),
        (f"{RIGHT}:YourGPT2", "has no class YourGPT2 (it has MyGPT2)"),
    ],
)
def test_a_class_that_is_not_there_is_refused(tiny_folder, where, named):
    with pytest.raises(UsageError) as error:
        put_on_trial(f"python:{where}", tiny_folder())
    assert named in str(error.value)


# A program


@pytest.fixture
def program(tmp_path):
    """program(text) -> the beginning of a command that runs this Python program."""

    def write(text):
        path = tmp_path / "program.py"
        path.write_text(f"import os, sys, time\nmodel, ids, dump = sys.argv[1:4]\n{dedent(text)}\n")
        return f"command: {EXAMPLE} {path} {{model}} {{ids}} {{dump}}"

    return write


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder in which temporary files are made: what is left there was left behind."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_program_is_given_calls_and_leaves_a_dump(tiny_folder, temporary):
    folder = tiny_folder()
    command = f"command: {EXAMPLE} {RIGHT} {{model}} {{ids}} {{calls}} {{dump}}"
    agrees(put_on_trial(command, folder).record(CHUNKS), folder)
    assert not [*temporary.iterdir()]


def test_a_program_may_write_npz_or_a_folder_and_read_ids_from_a_file(tiny_folder, tmp_path):
    text = """
    import sys, numpy as np
    ids = open(sys.argv[1]).read().split(",")
    x, d = np.ones((len(ids), 12), np.float32), sys.argv[2]
    """
    for form, save in (("dump.npz", "np.savez(d, embed=x)"), ("dump.folder", "np.save(d + '/embed.npy', x)")):
        (tmp_path / "p.py").write_text(f"{dedent(text)}{save}\n")
        command = f"command: {sys.executable} {tmp_path}/p.py {{ids.file}} {{{form}}}"
        (step,) = put_on_trial(command, tiny_folder()).record([[5, 6, 7]])
        assert step["embed"].shape == (3, 12)


def test_a_program_without_calls_is_never_asked_for_a_past(tiny_folder, program):
    text = "n = len(ids.split(','))\nimport numpy as np\nfrom safetensors.numpy import save_file\n"
    subject = put_on_trial(
        program(f"{text}save_file({{'embed': np.ones((n, 12), np.float32)}}, dump)"), tiny_folder()
    )
    assert len(Session(subject).chunks) == 1
    with pytest.raises(NotHereError, match=r"no \{calls\} in its command"):
        subject.record([[1], [2]])


@pytest.mark.untraced
def test_a_program_that_hangs_is_stopped_with_all_that_it_started(tiny_folder, tmp_path, program, temporary):
    pids = tmp_path / "pids"
    text = f"""
    os.fork()
    open({str(pids)!r}, "a").write(f"{{os.getpid()}}\\n")
    print("reading", flush=True)
    time.sleep(600)
    """
    started = time.monotonic()
    with pytest.raises(
        EngineError, match=r"ran longer than 1.5 s, and was stopped.(?s:.)*reading(?s:.)*--timeout"
    ):
        put_on_trial(program(text), tiny_folder(), timeout=1.5)
    assert time.monotonic() - started < 20
    found = pids.read_text().split()
    assert len(found) == 2
    for pid in found:
        state = Path(f"/proc/{pid}/stat")
        for _ in range(50):
            if not state.exists() or " Z " in state.read_text():
                break
            time.sleep(0.1)
        assert not state.exists() or " Z " in state.read_text()
    assert not [*temporary.iterdir()]


def test_a_program_that_hung_once_is_not_waited_for_again(tiny_folder, program):
    text = """
    import numpy as np
    from safetensors.numpy import save_file

    if "," in ids:
        time.sleep(600)
    save_file({"embed": np.ones((1, 12), np.float32)}, dump)
    """
    subject = put_on_trial(program(text), tiny_folder(), timeout=3)
    for _ in range(2):
        started = time.monotonic()
        with pytest.raises(EngineError, match="ran longer than 3 s"):
            subject.record([[1, 2]])
    assert time.monotonic() - started < 1


FAILING = {  # what the program does, and what the message must name
    "exit code": ("sys.exit('no such tensor: wpe')", "exit code 1 (wanted 0).\n  | no such tensor: wpe"),
    "signal": ("os.abort()", "ended by SIGABRT"),
    "no dump": ("print('all good')", "wrote no dump (wanted tensors at {dump}).\n  | all good"),
    "no safetensors": ("open(dump, 'w').write('hello')", "dump.safetensors: cannot be read"),
    "other ids": ("save({'ids': np.array([9])})", "shows the ids [9]"),
    "two calls": (
        "save({f'step.{k}/ids': np.array([0]) for k in (0, 1)})",
        "holds 2 forward calls (wanted 1",
    ),
    "unknown name": ("save({'hidden': np.ones((1, 12))})", "not a checkpoint: hidden"),
    "other block": ("save({'h.9.ln_1': np.ones((1, 12))})", "block 9"),
}


@pytest.mark.parametrize("kind", FAILING)
def test_a_program_that_leaves_no_usable_dump_is_refused(tiny_folder, program, temporary, kind):
    text, named = FAILING[kind]
    save = (
        "import numpy as np\nfrom safetensors.numpy import save_file\nsave = lambda x: save_file(x, dump)\n"
    )
    with pytest.raises(UsageError) as error:
        put_on_trial(program((save if "save" in text else "") + text), tiny_folder())
    assert named in str(error.value)
    assert not [*temporary.iterdir()]


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("", "the command is empty"),
        ("./x '{ids} {dump}", "cannot be cut into words"),
        ("./x {dump}", "no place for the ids"),
        ("./x {ids}", "no place for the dump"),
        ("./x {ids} {dump} {dump.npz}", "the command has dump and dump.npz"),
        ("./x {ids} {out}", "a place {out} (wanted {model}"),
        ("./nothing_of_the_kind {ids} {dump}", "./nothing_of_the_kind cannot be run: No such file"),
    ],
)
def test_a_command_that_cannot_be_run_is_refused(tiny_folder, command, named):
    with pytest.raises(UsageError) as error:
        put_on_trial(f"command: {command}", tiny_folder())
    assert named in str(error.value)


def test_a_time_limit_is_more_than_nothing(tiny_folder):
    with pytest.raises(UsageError, match="--timeout is 0"):
        put_on_trial("command: ./x {ids} {dump}", tiny_folder(), timeout=0)


def test_verify_says_in_one_message_that_a_program_does_not_run(tiny_folder, program):
    code, _, message = verify(program("sys.exit(3)"), tiny_folder())
    assert code == 2
    assert "exit code 3 (wanted 0)" in message


def test_a_map_of_names_is_for_programs_and_dumps(tiny_folder, program):
    with pytest.raises(UsageError, match="wanted a program or a dump"):
        put_on_trial("numpy", tiny_folder(), names="llm.c")
    with pytest.raises(SpecError, match="nothing_known is neither a map"):
        put_on_trial(program(""), tiny_folder(), names="nothing_known")


# A dump


@pytest.mark.untraced
def test_a_dump_of_the_standard_reading_is_an_engine(tiny_folder, tmp_path):
    folder = tiny_folder()
    subject = NumpyEngine(folder)
    write_dump(tmp_path / "d.safetensors", Session(subject).record, "ours", "float32")
    code, rules, _ = verify(f"dump:{tmp_path}/d.safetensors", folder)
    assert code == 0
    assert rules["gpt2.end_to_end"] == rules["cache.past_then_new"] == "passed"
    assert rules["gpt2.same_run_same_bits"] == "not run"


@pytest.mark.untraced
def test_a_dump_of_other_ids_is_not_run_by_name(tiny_folder, tmp_path):
    folder = tiny_folder()
    write_dump(tmp_path / "d.safetensors", NumpyEngine(folder).record([[1, 2]]), "ours", "float32")
    subject = put_on_trial(f"dump:{tmp_path}/d.safetensors", folder)
    with pytest.raises(NotHereError, match="the ids of this reading, in calls of 8, 4, 1, 1, 1, which"):
        _ = Session(subject).record
    code, rules, _ = verify(f"dump:{tmp_path}/d.safetensors", folder)
    assert code == 2  # nothing was compared: nobody can tell
    assert set(rules.values()) == {"not run"}


def test_a_dump_without_ids_is_not_taken_for_the_right_reading(tiny_folder, tmp_path):
    folder = tiny_folder()
    save_file({"embed": np.ones((2, 12), np.float32)}, tmp_path / "d.safetensors")
    with pytest.raises(NotHereError):
        put_on_trial(f"dump:{tmp_path}/d.safetensors", folder).record([[1, 2]])


def test_a_dump_that_cannot_be_read_is_refused(tiny_folder, tmp_path):
    with pytest.raises(SpecError, match=r"nowhere\.safetensors"):
        put_on_trial(f"dump:{tmp_path}/nowhere.safetensors", tiny_folder())


def test_a_checkpoint_that_a_dump_lacks_is_named(tiny_folder, tmp_path):
    folder = tiny_folder()
    save_file({"ids": np.array([1, 2]), "embed": np.ones((2, 12), np.float32)}, tmp_path / "d.safetensors")
    subject = put_on_trial(f"dump:{tmp_path}/d.safetensors", folder)
    with pytest.raises(NotHereError, match="logits, which dump:"):
        subject.logits([[1, 2]])


# The page

PAGE = (ROOT / "docs" / "subjects.md").read_text()


@pytest.mark.untraced
@pytest.mark.untraced
def test_every_command_of_the_page_runs(tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    commands = [line for language, block in blocks if not language for line in block.splitlines()]
    assert len(commands) == 4
    for command in commands:
        ran = subprocess.run(
            command.replace("python examples", f"{EXAMPLE} examples").replace("llorch", LLORCH, 1),
            shell=True,  # as a reader would paste it
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            timeout=300,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_page_names_every_kind_of_engine():
    for kind in ("numpy", "spec", "python:", "command: ", "dump:", "transformers"):
        assert f"`{kind}" in PAGE or f"`'{kind}" in PAGE
    for place in PLACES:
        assert f"`{{{place}}}`" in PAGE


# transformers

needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="PyTorch and transformers are not installed")


@pytest.mark.skipif(HAS_TORCH, reason="PyTorch and transformers are installed")
def test_without_pytorch_the_message_says_what_to_install(tiny_folder):
    with pytest.raises(UsageError, match=r"pip install 'llorch\[torch\]'"):
        put_on_trial("transformers", tiny_folder())


@needs_torch
def test_transformers_shows_every_checkpoint(tiny_folder):
    folder = tiny_folder()
    agrees(put_on_trial("transformers", folder).record(CHUNKS), folder)


@needs_torch
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_transformers_conforms_in_every_precision(tiny_folder, dtype):
    code, rules, _ = verify(f"transformers:{dtype}", tiny_folder())
    assert code == 0
    assert rules["gpt2.batch_changes_nothing"] == rules["gpt2.recording_changes_nothing"] == "passed"


@needs_torch
def test_transformers_refuses_a_dtype_that_it_has_not(tiny_folder):
    with pytest.raises(UsageError, match="there is no engine transformers:float8"):
        put_on_trial("transformers:float8", tiny_folder())
