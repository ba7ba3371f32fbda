"""Sizes, ratios, targets and the page are worked out by hand here."""

import pytest

from llorch_core.bench import sizes
from llorch_core.bench.engines import Engine, choose, find_engines
from llorch_core.bench.page import met, write_page
from llorch_core.bench.plan import plan_for
from llorch_core.bench.ratios import against_peers, judged, paired, spread
from llorch_core.bench.run import Result
from llorch_core.engine.config import read_config
from llorch_core.engine.errors import UsageError


def result(name, precision, ours, **samples):
    found = Result(Engine(name, precision, ours, ()))
    found.samples = {measure: dict(enumerate(values)) for measure, values in samples.items()}
    return found


def test_the_bytes_of_a_token_are_those_of_every_matrix_and_vector_once(tiny_folder):
    config = read_config(tiny_folder())  # n_embd 12, n_inner 20, 2 layers, 300 tokens, 16 positions, tied
    matrices = 300 * 12 + 2 * (12 * 36 + 12 * 12 + 12 * 20 + 20 * 12)
    vectors = 2 * (4 * 12 + 36 + 12 + 20 + 12) + 2 * 12
    assert sizes.matrix_weights(config) == matrices
    assert sizes.token_bytes(config, "bfloat16") == 2 * matrices + 4 * vectors
    assert sizes.weight_bytes(config, "float32") == 4 * (matrices + vectors + 16 * 12)
    assert sizes.cache_bytes(config, 10) == 2 * 4 * 2 * 12 * 10
    assert sizes.prompt_flops(config, 5) == 2 * (5 * (matrices - 3600) + 3600)


def test_an_untied_embedding_is_held_and_not_multiplied(tiny_folder, tiny_tensors):
    tensors = tiny_tensors(tie_word_embeddings=False)
    config = read_config(tiny_folder(tensors, tie_word_embeddings=False))
    tied = read_config(tiny_folder())
    assert sizes.matrix_weights(config) == sizes.matrix_weights(tied)
    assert sizes.weight_bytes(config, "float32") - sizes.weight_bytes(tied, "float32") == 4 * 3600


def test_a_plan_is_cut_to_what_the_model_has_room_for(tiny_folder):
    plan = plan_for(read_config(tiny_folder()), full=True)
    for job in plan.jobs:
        for prompt in job.prompts():
            assert len(prompt) + job.request.get("count", 1) - 1 <= 16
            assert all(0 <= i < 300 for i in prompt)
    assert [job.measure for job in plan.jobs] == ["decode", "prefill", "batch 8", "batch 32"]


def test_ratios_are_of_the_same_round():
    assert paired({0: 10.0, 1: 30.0, 2: 60.0}, {0: 10.0, 1: 10.0, 2: 30.0}) == spread([1.0, 3.0, 2.0])
    assert paired({0: 10.0}, {1: 10.0}) is None


def test_a_target_is_held_against_the_fastest_that_it_means():
    ours = result("numpy", "float32", True, decode=[50.0, 55.0], prefill=[90.0, 80.0])
    ours.limits = {"decode": {0: 100.0, 1: 50.0}}
    slow = result("slow", "float32", False, decode=[1.0, 1.0])
    fast = result("quick", "float32", False, decode=[40.0, 50.0], prefill=[100.0, 100.0])
    other = result("other", "int8", False, decode=[900.0, 900.0])
    found = {(t["engine"], t["measure"], t["against"]): t for t in judged([ours, slow, fast, other])}
    best = found["numpy-float32", "decode", "the best float32 peer"]
    assert (best["opponent"], best["met"]) == ("quick-float32", True)
    assert best["ratio"] == {"median": pytest.approx(1.175), "min": 1.1, "max": 1.25}
    limit = found["numpy-float32", "decode", "the measured limit"]
    assert (limit["ratio"]["median"], limit["met"]) == (0.8, False)
    prefill = found["numpy-float32", "prefill", "the best float32 peer"]
    assert met(prefill) == "missed by 11%"
    assert found["fast-int8", "decode", "llama.cpp int8"]["met"] is None
    assert [r["peer"] for r in against_peers([ours, slow, fast, other], ["decode"])] == ["quick-float32"]


def test_names_choose_engines_and_one_that_is_not_there_is_refused(tmp_path):
    (tmp_path / "mine_peer.py").write_text("")
    engines = find_engines(tmp_path, "python")
    assert [e.label for e in choose(engines, ["mine-int8", "numpy"])] == ["numpy-float32", "mine-int8"]
    assert len(choose(engines, ["mine"])) == 4
    with pytest.raises(UsageError, match=r"no engine 'yours'.*\nThere are: numpy, fast, mine;"):
        choose(engines, ["yours"])


def test_a_page_keeps_what_people_wrote_around_a_section(tmp_path):
    page = tmp_path / "page.md"
    write_page(page, "a", "first")
    page.write_text("above\n" + page.read_text() + "below\n")
    write_page(page, "b", "other")
    write_page(page, "a", "second")
    text = page.read_text()
    assert "first" not in text
    assert [word for word in text.split() if word in ("above", "second", "below", "other")] == [
        *("above", "second", "below", "other")
    ]
    page.write_text("<!-- a -->\ncut off")
    with pytest.raises(UsageError, match="end of a"):
        write_page(page, "a", "third")
    assert page.read_text() == "<!-- a -->\ncut off"


def test_an_engine_that_turns_out_wrong_in_a_later_round_keeps_no_speed():
    found = result("other", "int8", False, decode=[900.0])
    found.limits = {"decode": {0: 1.0}}
    found.refuse("wrong", "id 3")
    assert (found.status, found.reason, found.samples, found.limits) == ("wrong", "id 3", {}, {})
