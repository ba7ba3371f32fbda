"""The tool that measures diagnose: its engines make their mistakes, and what is wrong is counted as wrong."""

import importlib.util
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("measure_diagnosis", ROOT / "tools" / "measure_diagnosis.py")
tool = importlib.util.module_from_spec(_spec)
sys.modules["measure_diagnosis"] = tool
_spec.loader.exec_module(tool)

SHAPE = {"vocab_size": 60, "n_positions": 24, "n_embd": 24, "n_head": 3, "n_layer": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tool.make_model(tmp_path_factory.mktemp("models") / "tiny", SHAPE, 0))


@pytest.fixture
def judged(model, tmp_path):
    """judged(case, told) -> the row of an engine that makes `case`, and of which `told` is believed."""

    def judge(case, told=None):
        made, steps, broken = tool.record(replace(case, model=model))
        if told is not None:
            made, _, broken = tool.record(replace(told, model=model))
        tool.write_dump(tmp_path / "dump.safetensors", steps, "an engine", case.precision)
        return {
            **asdict(made),
            "broken": broken,
            **tool.summary(tool.diagnose(tmp_path / "dump.safetensors", model)),
        }

    return judge  # fmt: skip


def case(*mistakes, part="mistakes", precision="float32", **more):
    return tool.Case(part, "", precision, (12, 8, 1, 1), 1, mistakes=mistakes, **more)


ERF, BIAS = "mlp.erf_gelu", "layer_norm.bias_left_out"


@pytest.mark.untraced
def test_a_mistake_is_broken_from_the_first_checkpoint_whose_equations_it_changes(judged):
    assert judged(case(ERF))["broken"][0][0] == (0, "h.0.mlp.act")
    assert judged(case("cache.past_forgotten"))["broken"][0][0] == (1, "h.0.attn.keys")
    assert judged(case("gpt2.last_block_skipped"))["broken"][0][0] == (0, "ln_f")


def test_a_known_mistake_is_counted_as_located_and_named_first(judged):
    row = judged(case(ERF))
    assert (tool.shows(row), tool.outcome(row), tool.named(row)) == (True, "located", "first")
    assert list(tool.failures([row])) == []


def test_a_name_that_stands_beside_the_first_is_counted_apart(judged):
    row = judged(case("kv_cache.position_not_advanced"))
    assert (tool.outcome(row), tool.named(row)) == ("located", "same numbers")


def test_a_diagnosis_of_another_place_and_another_mistake_is_counted_as_wrong(judged):
    row = judged(case(BIAS), told=case(ERF))
    assert (tool.outcome(row), tool.named(row)) == ("elsewhere", "not")
    (line,) = tool.failures([row])
    assert line.startswith(f"{ERF}, ")
    assert "seed 1: elsewhere, 0 h.0.ln_1; broken from 0 h.0.mlp.act" in line
    assert f"not named; {BIAS}" in line
    told = tool.met({"mistakes": [row]})
    assert told == {
        "one mistake: located 100 % in float32": False,
        "one mistake: named 95 % in float32": False,
    }


@pytest.mark.untraced
def test_an_engine_that_is_right_and_said_to_be_wrong_is_a_missed_mistake(judged):
    row = judged(case(part="honest"), told=case(ERF))
    assert (row["verdict"], tool.outcome(row)) == ("conforms", "missed")


@pytest.mark.untraced
def test_a_mistake_in_an_engine_that_is_called_honest_is_a_false_alarm(judged):
    row = {**judged(case(ERF)), "part": "honest"}
    assert tool.outcome(row) == "false alarm"
    assert tool.met({"honest": [row]}) == {"no false alarm": False}
    assert tool.outcome({**judged(case()), "part": "honest"}) == "right"


def test_a_verdict_that_is_none_is_an_error_and_no_success(judged, model, tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"no dump")
    found = tool.summary(tool.diagnose(tmp_path / "bad.safetensors", model))
    assert found["exit_code"] == 2
    assert "cannot be read" in found["reason"]
    assert tool.outcome({**judged(case(ERF)), **found}) == "error"


def test_a_pair_counts_as_named_only_where_both_are(judged):
    row = judged(case(ERF, BIAS, part="pairs"))
    assert tool.named(row) == "both"
    assert tool.named({**row, "mistakes": (ERF, "residual.branch_scaled")}) == "one"
    assert tool.named({**row, "mistakes": ("cache.newest_first", "residual.branch_scaled")}) == "none"


@pytest.mark.untraced
def test_pairs_are_drawn_by_their_seed_and_each_of_two_shows_beside_the_other(model):
    drawn = [tool.record(tool.Case("pairs", model, "float32", (12, 8, 1, 1), 5))[0] for _ in range(2)]
    assert drawn[0] == drawn[1]
    one, other = drawn[0].mistakes
    assert one != other
    assert {one, other} <= {*tool.catalogue()}


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "float32"])
def test_an_engine_keeps_every_checkpoint_in_its_precision(model, precision):
    oracle = tool.oracle_of(model)
    steps = tool.run_equations(tool.kept(oracle, precision), [[1, 2, 3], [4]], precision)
    for step in steps:
        for name, x in step.items():
            assert name == "ids" or np.array_equal(x, tool.ROUND[precision](x)), name


@pytest.mark.untraced
@pytest.mark.parametrize("name", tool.UNLISTED)
def test_a_mistake_that_is_not_listed_changes_a_number(model, name):
    found = tool.record(tool.Case("unlisted", model, "float32", (12, 8, 1, 1), 1, unlisted=name))[2]
    assert found
    assert found[-1][1] > tool.CLEARLY


def test_a_listed_name_for_a_mistake_that_is_not_listed_is_counted(judged):
    row = judged(case(part="unlisted", unlisted="softmax at temperature 1.1"))
    assert tool.named(row) in ("unlike anything", "signature")
    assert tool.named({**row, "anywhere": [ERF]}) == "listed"
    assert (
        tool.met({"unlisted": [{**row, "anywhere": [ERF]}]})["not listed: nothing of the catalogue named"]
        is False
    )


def test_the_same_seed_gives_the_same_cases(model):
    for part in ("mistakes", "honest", "pairs", "unlisted"):
        one, other, another = (tool.cases(part, [Path(model)], seed, quick=False) for seed in (0, 0, 1))
        assert one == other != another
        assert any(c.by_process for c in one)


@pytest.mark.untraced
def test_the_tool_measures_every_part_and_says_what_is_met(tmp_path):
    out = tmp_path / "out.json"
    done = CliRunner().invoke(tool.main, ["--quick", "--workers", "0", "--json", str(out)])
    assert done.exit_code == 0, done.output
    results = json.loads(out.read_text())
    assert {"mistakes", "honest", "pairs", "unlisted", "size"} <= results.keys()
    assert all(row["same"] for part in tool.PARTS[:4] for row in results[part] if "same" in row)
    assert [row["verdict"] for row in results["size"]] == ["conforms", "diverges"]
    assert "not met" not in done.output
