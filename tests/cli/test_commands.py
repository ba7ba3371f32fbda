"""The commands as a user meets them: their output, their exit code."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.numpy

from llorch_core.cli import VERBS
from tests.commands import llorch

ROOT = Path(__file__).parents[2]


def refused(*arguments, stdin=""):
    """Return the message of a call that must end with exit code 2, no output and no traceback."""
    ran = llorch(*arguments, stdin=stdin)
    assert ran.returncode == 2, ran.stderr
    assert ran.stdout == ""
    assert "Traceback" not in ran.stderr
    return ran.stderr


@pytest.mark.untraced
@pytest.mark.parametrize(
    "command",
    [
        "",
        "verify",
        "generate",
        "spec",
        "spec list",
        "spec show",
        "spec check",
        "spec weights",
        "prove",
        "diagnose",
        "record",
    ],
)
def test_each_help_text_opens_with_a_sentence_and_ends_with_an_example(command):
    ran = llorch(*command.split(), "--help")
    lines = [line.strip() for line in ran.stdout.splitlines() if line.strip()]
    assert ran.returncode == 0
    assert lines[1].endswith((".", ":")) or lines[2].endswith(".")
    assert lines[-1].startswith("Example: llorch ")


def test_every_verb_is_in_the_help_text():
    text = llorch("--help").stdout
    for verb in VERBS:
        assert f"\n  {verb} " in text
        assert (ROOT / "llorch_core" / "cli" / f"{verb}.py").is_file()


def test_a_command_that_does_not_exist_is_refused():
    assert "No such command 'verifi'" in refused("verifi")


@pytest.mark.untraced
def test_verify_conforms_on_the_embedded_model_with_a_line_for_each_rule():
    ran = llorch("verify")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "\x1b[" not in ran.stdout  # a pipe gets plain text
    assert ran.stdout.splitlines()[-1].startswith("numpy with shakespeare conforms: ")
    assert ran.stdout.splitlines()[-1].endswith("exit code 0")
    assert "layer_norm.population_variance" in ran.stdout
    for line in ran.stdout.splitlines():  # what is not here is named, and nothing else is not run
        assert "not run" not in line or "LLORCH_" in line or "conforms" in line or "gpt2." in line


def test_verify_prints_one_json_object(tiny_folder):
    ran = llorch("verify", "--model", tiny_folder(), "--json", "--component", "qkv")
    found = json.loads(ran.stdout)
    assert (ran.returncode, found["verdict"]) == (0, "conforms")
    assert [rule["rule"].split(".")[0] for rule in found["rules"]] == ["qkv"] * 4
    assert found["totals"]["elements"] > 500
    assert all(rule["status"] == "passed" for rule in found["rules"])


def test_verify_says_where_an_engine_with_a_mistake_diverges(tiny_folder):
    ran = llorch("verify", "--model", tiny_folder(), "--engine", "spec:mlp.erf_gelu", "--component", "mlp")
    assert ran.returncode == 1
    assert "failed mlp.activation_of_the_config" in ran.stdout
    assert "tolerances away" in ran.stdout
    assert "mlp.feature:" in ran.stdout


def test_verify_refuses_a_component_and_an_engine_that_do_not_exist():
    assert "there is no component layernorm. There are: configuration, weight_file" in refused(
        "verify", "--component", "layernorm"
    )
    assert "there is no engine cuda" in refused("verify", "--engine", "cuda")
    assert "there is no engine spec:mlp.nothing" in refused("verify", "--engine", "spec:mlp.nothing")


def test_verify_refuses_a_folder_that_is_no_model(tmp_path):
    assert "config.json" in refused("verify", "--model", tmp_path)


LAST = "transformer.ln_f.bias"
BROKEN = {  # what is done to the tensors of the file, and what the message must name
    "missing": (lambda t: t.pop(LAST), "ln_f.bias is missing"),
    "wrong shape": (lambda t: t.update({LAST: t[LAST][:-1]}), "ln_f.bias"),
    "unexpected": (lambda t: t.update({"transformer.h.9.ln_1.bias": t[LAST]}), "h.9.ln_1"),
    "whole numbers": (lambda t: t.update({LAST: t[LAST].astype("int32")}), "I32"),
}


@pytest.mark.untraced
@pytest.mark.parametrize("command", [["verify", "--model"], ["generate", "hello", "--model"]])
@pytest.mark.parametrize("kind", BROKEN)
def test_a_model_with_broken_tensors_is_refused_by_name(tiny_folder, command, kind):
    folder = tiny_folder()
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    change, named = BROKEN[kind]
    change(tensors)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")
    message = refused(*command, folder)
    assert named in message
    assert "wanted" in message


@pytest.mark.parametrize("command", [["verify", "--model"], ["generate", "hello", "--model"]])
def test_a_truncated_file_is_refused(tiny_folder, command):
    path = tiny_folder() / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    assert "model.safetensors" in refused(*command, path.parent)


def test_a_config_that_contradicts_the_tensors_is_refused(tiny_folder):
    folder = tiny_folder()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "n_positions": 77}))
    assert "wpe.weight" in refused("verify", "--model", folder)


def test_generate_continues_a_prompt_and_the_seed_repeats_it():
    first, second, other = (
        llorch("generate", "To be, or not to be", "--seed", seed, "--max-tokens", 20) for seed in (7, 7, 8)
    )
    assert first.returncode == 0
    assert len(first.stdout) > 20
    assert first.stdout == second.stdout != other.stdout
    assert first.stderr == ""  # the note on speed is for a terminal


def test_generate_reads_standard_input():
    by_argument = llorch("generate", "My lord,", "--temperature", 0, "--max-tokens", 8)
    by_input = llorch("generate", "--temperature", 0, "--max-tokens", 8, stdin="My lord,\n")
    assert by_argument.stdout == by_input.stdout != "\n"


def test_generate_stops_before_a_stop_string_and_says_so_in_json():
    ran = llorch("generate", "ROMEO:", "--json", "--seed", 1, "--stop", "\n\n", "--max-tokens", 200)
    found = json.loads(ran.stdout)
    assert found["finish_reason"] == "stop"
    assert "\n\n" not in found["text"]
    assert found["seed"] == 1


def test_generate_json_holds_what_the_text_was():
    text = llorch("generate", "ROMEO:", "--seed", 3, "--max-tokens", 12).stdout
    found = json.loads(llorch("generate", "ROMEO:", "--seed", 3, "--max-tokens", 12, "--json").stdout)
    assert found["text"] + "\n" == text
    assert len(found["ids"]) == 12
    assert found["finish_reason"] == "length"


def test_generate_shows_ids_where_there_is_no_tokenizer(tiny_folder):
    ran = llorch("generate", "1, 2 3", "--ids", "--model", tiny_folder(), "--max-tokens", 3)
    assert ran.returncode == 0
    assert len(ran.stdout.split()) == 3
    assert "no tokenizer files" in refused("generate", "hello", "--model", tiny_folder())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["x", "--temperature", "-1"], "temperature is -1.0 (wanted"),
        (["x", "--top-p", "0"], "top_p is 0.0 (wanted"),
        (["x", "--top-k", "-1"], "top_k is -1 (wanted"),
        (["x", "--repetition-penalty", "0"], "repetition_penalty is 0.0 (wanted"),
        (["x", "--seed", "-1"], "seed is -1 (wanted"),
        (["x", "--max-tokens", "0"], "max_tokens is 0"),
        (["x", "--max-tokens", "1000"], "max_tokens is 1000"),
        (["x", "--stop", ""], "stop is"),
        (["x", "--model", "nowhere"], "nowhere"),
        (["x", "--ids"], "wanted ids"),
        (["99999", "--ids"], "99999"),
        ([""], "at least one id"),
        (["x " * 400], "256"),
    ],
)
def test_generate_refuses_what_cannot_be_done_before_any_work(arguments, named):
    assert named in refused("generate", *arguments)


def test_generate_refuses_input_that_is_no_text():
    ran = subprocess.run(
        [sys.executable, "-m", "llorch_core", "generate"],
        input=b"\xff\xfe",
        capture_output=True,
        cwd=ROOT,
        timeout=60,
    )
    assert ran.returncode == 2
    assert b"not UTF-8 at byte 0" in ran.stderr


@pytest.mark.untraced
def test_a_terminal_gets_colour_and_no_color_takes_it_away(on_terminal):
    colours = on_terminal("verify", "--component", "argmax").stdout
    plain = on_terminal("verify", "--component", "argmax", NO_COLOR="1").stdout
    assert "\x1b[32m" in colours
    assert "\x1b[32m" not in plain
    assert "conforms" in plain


def test_a_terminal_sees_the_prompt_before_the_text_and_the_speed_after_it(on_terminal):
    shown = on_terminal("generate", "To be", "--max-tokens", "5", "--seed", "1").stdout
    assert "To be" in shown
    assert "5 tokens, " in shown
    assert "seed 1" in shown


def test_spec_list_has_a_line_for_each_spec():
    text = llorch("spec", "list").stdout
    for path in (ROOT / "specs" / "components").glob("*.yaml"):
        assert f"\n{path.stem} " in text


def test_spec_show_prints_equations_rules_and_mistakes():
    text = llorch("spec", "show", "layer_norm").stdout
    assert "mean((x - centre)**2)" in text
    assert "Divide the sum of squares by n_embd." in text
    assert "seen in harvardnlp/annotated-transformer#119" in text
    assert "h.N.mid" in llorch("spec", "show", "gpt2").stdout


def test_spec_show_refuses_a_spec_that_does_not_exist():
    assert "there is no spec nothing. There are: configuration" in refused("spec", "show", "nothing")


def test_spec_weights_lists_the_names_of_the_file():
    text = llorch("spec", "weights").stdout
    assert "h.N.attn.c_attn.weight  [n_embd, 3 * n_embd]" in text


def test_spec_check_names_file_and_line_of_a_false_spec(tmp_path):
    import shutil

    shutil.copytree(ROOT / "specs", tmp_path / "specs", ignore=shutil.ignore_patterns("golden"))
    path = tmp_path / "specs" / "components" / "layer_norm.yaml"
    text = path.read_text()
    path.write_text(text.replace("{out: [T, n_embd]}", "{out: [T, n_inner]}"))
    line = text[: text.index("output:")].count("\n") + 1
    message = refused("spec", "check", tmp_path / "specs")
    assert "layer_norm.yaml:" in message
    assert "n_inner" in message
    assert line


def test_spec_check_refuses_a_folder_without_specs(tmp_path):
    assert "wanted a folder of specs" in refused("spec", "check", tmp_path)


def test_importing_the_command_line_imports_nothing_heavy():
    code = "import llorch_core.cli, sys; print({'numpy', 'behave', 'tiktoken', 'rich'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert ran.stdout == "set()\n"


@pytest.mark.untraced
def test_prove_catches_the_mistakes_of_a_component_and_says_by_which_rule(tiny_folder):
    ran = llorch("prove", "--only", "top_p", "--model", tiny_folder(), "--jobs", 1)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "top_p.crossing_token_dropped" in ran.stdout
    assert "proved: 5 of 5 mistakes (100.0%)" in ran.stdout


def test_prove_prints_one_json_object(tiny_folder):
    ran = llorch("prove", "--only", "mlp.erf_gelu", "--model", tiny_folder(), "--json")
    found = json.loads(ran.stdout)
    assert (found["verdict"], found["mistakes"], found["caught"]) == ("proved", 1, 1)
    assert found["trials"][0]["rule"] == "mlp.activation_of_the_config"
    assert found["trials"][0]["found"]["share"] > 4


@pytest.mark.untraced
def test_prove_moves_elements_in_two_processes_and_prints_the_bound(tiny_folder):
    ran = llorch("prove", "--perturb", 60, "--model", tiny_folder(), "--jobs", 2)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "60 of 60 single elements, moved by 4 tolerances" in ran.stdout
    assert "with 95 % confidence, at least 95.13% of all such errors are" in ran.stdout


def test_prove_says_which_moves_nobody_noticed(tiny_folder):
    ran = llorch("prove", "--perturb", 3, "--tolerances", 1.0001, "--model", tiny_folder(), "--json")
    found = json.loads(ran.stdout)
    assert found["moved"] == 3
    assert found["noticed"] + len(found["missed"]) == 3


def test_prove_refuses_what_proves_nothing():
    assert "there is no mistake mlp.nothing" in refused("prove", "--only", "mlp.nothing")
    assert "wanted 1 or more" in refused("prove", "--perturb", "0")
    assert "more than 1" in refused("prove", "--perturb", "5", "--tolerances", "0.5")
    assert "--jobs is 0" in refused("prove", "--jobs", "0")
