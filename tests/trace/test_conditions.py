"""A scenario whose data prove nothing is a stub; where the model lacks something, it is not run."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from llorch_core.subject.numpy_engine import NumpyEngine
from llorch_core.trace.run import suite
from llorch_core.trace.session import Session

ROOT = Path(__file__).parents[2]

DEGENERATE = {
    "kv_cache.three_calls: wanted calls >= 3, got calls = 2": """
  @kv_cache.positions_advance_by_what_was_read
  Scenario: Two calls
    When a cache is read into by 4 tokens, and then by 3
    Then the cache has counted 4 and 7 positions after each call
""",
    "kv_cache.past: wanted n_past > 0, got n_past = 0": """
  @kv_cache.own_storage
  Scenario: One call has no past
    When a cache is read into by 4 tokens, and then by nothing
    Then the keys and values of every block are its own k and v of all calls, end to end
""",
    "kv_cache.single_token: wanted narrowest_later_call == 1, got narrowest_later_call = 2": """
  @kv_cache.cached_as_uncached
  Scenario: Chunks alone
    When a cache is read into by 4 tokens, and then by 3 and 2
    Then each row of logits is, to rounding, what one call with all the ids gives
""",
    "recording.chunk_behind_a_past: wanted widest_later_call >= 2, got widest_later_call = 1": """
  @recording.order_of_positions
  Scenario: One row at a time
    When calls of 4, 1 and 1 tokens are recorded
    Then row by row, ids and embed are those of calls of one token each
""",
    "weight_file.square_not_symmetric: wanted asymmetry > 0, got asymmetry = 0": """
  @weight_file.inputs_are_rows
  Scenario: A symmetric square matrix
    Given a weight file of 2 blocks
    And the square matrices of the file are symmetric
    When the weight file is loaded
    Then every element of every tensor in memory is that of the file
""",
    "weight_file.no_tensor_of_zeros: wanted zero_tensors == 0, got zero_tensors = 1": """
  @weight_file.little_endian
  Scenario: A bias of zeros
    Given a weight file of 2 blocks
    And ln_f.bias of the file is all zeros
    When the weight file is loaded
    Then every element of every tensor in memory is that of the file
""",
    "weight_file.more_than_ten_blocks: wanted blocks > 10, got blocks = 3": """
  @weight_file.blocks_by_number
  Scenario: Three blocks
    Given a weight file of 3 blocks
    When the weight file is loaded
    Then every element of every tensor in memory is that of the file
""",
    "weight_file.one_fault: wanted faults == 1, got faults = 2": """
  @weight_file.nothing_filled_in
  Scenario: Two tensors are missing
    Given a weight file of 2 blocks
    And ln_f.weight of the file is left out
    And ln_f.bias of the file is left out
    When the weight file is loaded
    Then the weight file is refused, and the message names ln_f.bias
""",
    "configuration.odd_width: wanted n_inner != 4 * n_embd, got n_embd = 12, n_inner = 48": """
  @configuration.width_of_the_mlp
  Scenario: The width that it has anyway
    Given a config.json with
      | key         | value |
      | vocab_size  | 300   |
      | n_positions | 16    |
      | n_embd      | 12    |
      | n_head      | 2     |
      | n_layer     | 3     |
      | n_inner     | 48    |
    When the config.json is read
    Then the config has n_inner = 48
""",
    "sampling.ties: wanted ties >= 2, got ties = 1": """
  @sampling.lowest_id_of_equals
  Scenario: No equals
    When 50 tokens are drawn
      | setting     | value     |
      | logits      | [1, 9, 3] |
      | temperature | 0         |
      | seed        | 1         |
    Then the draws have the probabilities [0, 1, 0]
""",
    "sampling.no_single_spike: wanted largest_share < 0.99, got largest_share = 1": """
  @sampling.seed_decides
  Scenario: One token has it all
    When 50 tokens are drawn
      | setting | value      |
      | logits  | [0, 90, 0] |
      | seed    | 1          |
    Then the draws have the probabilities [0, 1, 0]
""",
    "sampling.many_draws: wanted draws >= 20, got draws = 2": """
  @sampling.seed_decides
  Scenario: Two draws
    When 2 tokens are drawn
      | setting | value     |
      | logits  | [0, 0, 0] |
      | seed    | 1         |
    Then the draws have the probabilities [1/3, 1/3, 1/3]
""",
    "tokenizer.merged_words: wanted words_in_text > 0, got words_in_text = 0": """
  @tokenizer.cut_by_the_pattern
  Scenario: No merge
    Given a tokenizer of bytes, <|endoftext|> and the words []
    When the text "x1" is encoded
    Then the tokens are ["x", "1"]
""",
    "tokenizer.half_characters: wanted half_characters > 0, got half_characters = 0": """
  @tokenizer.bytes_joined_first
  Scenario: Whole characters
    Given a tokenizer of bytes, <|endoftext|> and the words []
    When the ids [32, 33] are decoded
    Then the text is "AB"
""",
    "generation.one_position_too_many: wanted over == 1, got over = 7": """
  @generation.context_not_exceeded
  Scenario: Far too many
    Given a prompt of 0 positions less than the model has
    When it is continued by 8 tokens, or refused
    Then the caller gets a refusal
""",
    "generation.unequal_prompts: wanted lengths >= 2, got lengths = 1": """
  @generation.batch_as_alone
  Scenario: Three prompts of one length
    Given prompts of 3, 3 and 3 ids
    When they are continued by 6 tokens with seed 5, in a batch and alone
    Then each gets the ids in the batch that it gets alone
""",
    "kv_cache.another_sequence: wanted different_ids > 0, got no step measured different_ids": """
  @kv_cache.new_sequence_starts_empty
  Scenario: A fact that no step measured
    When a cache without a stated capacity is read into by 5, 2 and 1 tokens
    Then the cache has room for every position of the model
""",
}
STEPS = """
from behave import given

@given("the square matrices of the file are symmetric")
def symmetric(context):
    for name, x in context.draft.tensors.items():
        if name.endswith("attn.c_proj.weight"):
            context.draft.tensors[name] = context.draft.wanted[name] = x + x.T

@given("{name} of the file is all zeros")
def all_zeros(context, name):
    context.draft.tensors[name] = context.draft.wanted[name] = 0 * context.draft.tensors[name]
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory, copy_house):
    """What became of each degenerate scenario, by its title; our own engine is on trial."""
    folder = copy_house(tmp_path_factory.mktemp("degenerate"), "features/**/*.feature")
    (folder / "features" / "planted.feature").write_text("Feature: Planted\n" + "".join(DEGENERATE.values()))
    (folder / "steps" / "planted.py").write_text(STEPS)
    command = [sys.executable, "-m", "llorch_core", "verify", "--json", "--jobs", "1"]
    verified = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert verified.returncode == 1, verified.stderr
    plain = subprocess.run([sys.executable, "-m", "behave", "--format=null"], cwd=folder, timeout=120)
    assert plain.returncode == 1
    rules = json.loads(verified.stdout)["rules"]
    return {scenario["title"]: scenario for rule in rules for scenario in rule["scenarios"]}


@pytest.mark.parametrize("said", DEGENERATE)
def test_a_scenario_whose_data_prove_nothing_is_a_stub_that_says_why(ran, said):
    (title,) = [line.split(": ")[1] for line in DEGENERATE[said].splitlines() if "Scenario:" in line]
    assert ran[title]["status"] == "stub", ran[title]["message"]
    assert f"its data do not meet {said}. Why: " in ran[title]["message"]


def statuses(folder, tags):
    return {outcome.title: outcome for outcome in suite().run(Session(NumpyEngine(folder)), tags)}


def test_a_model_of_one_head_and_one_block_lacks_what_some_scenarios_need(tiny_folder):
    found = statuses(tiny_folder(n_head=1, n_layer=1), "@kv_cache.*")
    lacking = {title: o.message for title, o in found.items() if o.status == "not run"}
    assert {o.status for o in found.values()} == {"passed", "not run"}
    assert lacking.keys() == {
        "What a call was given, the next call is given again",
        "Every block finds its own keys and its own values",
    }
    assert "a model with n_head >= 2 (n_head = 1)" in "".join(lacking.values())
    assert "a model with n_layer >= 2 (n_layer = 1)" in "".join(lacking.values())


def test_a_model_with_a_symmetric_matrix_cannot_show_that_it_is_turned(tiny_folder, tiny_tensors):
    tensors = tiny_tensors()
    tensors["h.0.attn.c_proj.weight"] = np.eye(12, dtype=np.float32)
    (outcome,) = statuses(tiny_folder(tensors), "@kv_cache.cached_as_uncached").values()
    assert outcome.status == "not run"
    assert "a model with asymmetry > 0 (asymmetry = 0): a symmetric matrix is" in outcome.message


def test_a_model_without_biases_cannot_show_that_they_are_read(tiny_folder, tiny_tensors):
    tensors = tiny_tensors()
    tensors["h.1.mlp.c_fc.bias"][:] = 0
    found = statuses(tiny_folder(tensors), "@weight_file.every_tensor_as_stored")
    assert found["The memory of the model on trial is its file"].status == "not run"
    assert found["No bias is 0, no gain has the mean 1, and no tensor is left out"].status == "passed"


@pytest.mark.parametrize("n_ctx", [4, 8])
def test_a_model_with_few_positions_is_not_accused_of_it(tiny_folder, n_ctx):
    for tags in ("@kv_cache.*", "@recording.*", "@generation.*"):
        found = statuses(tiny_folder(n_positions=n_ctx), tags)
        assert {outcome.status for outcome in found.values()} <= {"passed", "not run"}


def test_a_wrong_engine_fails_also_where_a_pass_would_prove_nothing(tiny_folder):
    wrong = Session(NumpyEngine(tiny_folder(n_head=1, n_layer=1), "kv_cache.keys_and_values_share_storage"))
    (outcome,) = suite().run(wrong, "@kv_cache.own_storage")
    assert outcome.status == "failed"


def test_a_fact_is_of_the_model_only_where_a_step_says_so():
    session = Session(NumpyEngine())
    suite().run(session, "@kv_cache.own_storage")
    (outcome,) = session.outcomes
    assert outcome.facts["calls"] == 4
    assert outcome.of_model == {"n_layer", "n_head", "n_embd", "different_ids", "asymmetry"}
