"""The forward pass: right numbers on models recorded from PyTorch, and the laws that hold on any model."""

from __future__ import annotations

import functools
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from llorch_core.engine import gpt2
from llorch_core.engine.cache import KVCache
from llorch_core.engine.errors import UsageError
from llorch_core.engine.gpt2 import forward
from llorch_core.engine.layers import Array
from llorch_core.engine.model import Model, load

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "specs" / "golden" / "shakespeare.safetensors"
SHARED = ROOT.parent / "shared" / "data" / "models"
NAMES = sorted(path.parent.name for path in SHARED.glob("*/config.json")) or ["absent"]
ROUNDING = 1e-5  # of the largest number; float32 against float64, or two orders of summation, cost 1e-6

Step = dict[str, Array]
model_in = functools.cache(load)


@pytest.fixture(params=["tiny", "embedded", *NAMES])
def model(request: pytest.FixtureRequest, tiny_folder: Callable[..., Path]) -> Model:
    """One model after the other: tiny and random, the embedded one, and each of ../shared."""
    if request.param == "tiny":
        return load(tiny_folder())
    if request.param == "embedded":
        return model_in()
    return model_in(request.getfixturevalue("shared_models") / request.param)


def some_ids(model: Model, n: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(0, model.config.n_vocab, n).tolist()


def run(model: Model, chunks: Sequence[Sequence[int]], cache: KVCache | None = None) -> list[Step]:
    """Read chunks one after the other; return the checkpoints of each call."""
    cache = cache or model.new_cache()
    steps: list[Step] = []
    for chunk in chunks:
        step: Step = {}
        step["returned"] = model.logits(
            chunk, kv_cache=cache, observer=lambda _, name, x, step=step: step.update({name: x})
        )
        steps.append(step)
    return steps


def assert_close(got: Array, wanted: Array, name: str = "") -> None:
    """Every element, within ROUNDING of the largest finite one; infinities in the same places."""
    assert got.shape == wanted.shape, name
    finite = np.isfinite(wanted)
    assert np.array_equal(np.isfinite(got), finite), name
    assert np.array_equal(got[~finite], wanted[~finite]), name
    away = np.abs(got[finite] - wanted[finite]).max() / np.abs(wanted[finite]).max()
    assert away <= ROUNDING, f"{name}: {away:.1e} of the largest number"


@pytest.mark.parametrize("name", NAMES)
def test_logits_of_every_prompt_agree_with_pytorch(shared_models, name):
    recorded = load_file(shared_models / name / "logits.safetensors")
    prompts = [key.removesuffix("/logits") for key in recorded if key.endswith("/logits")]
    assert {"A", "B"} <= set(prompts)
    for prompt in prompts:
        got = model_in(shared_models / name).logits(recorded[f"{prompt}/ids"])
        assert_close(got, recorded[f"{prompt}/logits"], prompt)


@pytest.mark.parametrize("name", NAMES)
def test_every_checkpoint_agrees_with_pytorch(shared_models, name):
    recorded = load_file(shared_models / name / "reference.safetensors")
    [step] = run(model_in(shared_models / name), [recorded["ids"]])
    assert len(recorded) == 4 + 14 * model_in(shared_models / name).config.n_layer
    for checkpoint, wanted in recorded.items():
        assert_close(step[checkpoint], wanted, checkpoint)


def test_every_checkpoint_of_prefill_and_decode_agrees_with_the_golden_tensors():
    golden = load_file(GOLDEN)
    steps = run(model_in(), [golden[f"step.{k}/ids"] for k in range(3)])
    assert len(golden) == 3 * (len(steps[0]) - 1)  # `returned` is not recorded
    for name, wanted in golden.items():
        k, checkpoint = name.removeprefix("step.").split("/")
        assert_close(steps[int(k)][checkpoint], wanted, name)


def test_the_observer_sees_what_is_returned_under_the_names_and_shapes_of_a_dump(model):
    c = model.config
    first, second = run(model, [some_ids(model, 3), some_ids(model, 2)])
    shapes = {"ids": (2,), "embed": (2, c.n_embd), "ln_f": (2, c.n_embd), "logits": (2, c.n_vocab)}
    for n in range(c.n_layer):
        for name in ("ln_1", "attn.context", "attn.out", "mid", "ln_2", "mlp.out", "out"):
            shapes[f"h.{n}.{name}"] = (2, c.n_embd)
        shapes |= {f"h.{n}.mlp.fc": (2, c.n_inner), f"h.{n}.mlp.act": (2, c.n_inner)}
        shapes |= {f"h.{n}.attn.{x}": (c.n_head, 2, c.head_dim) for x in "qkv"}
        shapes |= {f"h.{n}.attn.{x}": (c.n_head, 5, c.head_dim) for x in ("keys", "values")}
        shapes |= {f"h.{n}.attn.{x}": (c.n_head, 2, 5) for x in ("scores", "probs")}
    assert np.array_equal(first.pop("returned"), first["logits"])
    second.pop("returned")
    assert {name: x.shape for name, x in second.items()} == shapes
    dtypes = {name: x.dtype for name, x in second.items()}
    assert dtypes.pop("ids") == np.int64
    assert set(dtypes.values()) == {np.dtype(np.float32)}


@pytest.mark.parametrize("lengths", [[4, 5, 2], [1, 10], [10, 1], [1] * 11])
def test_a_prompt_read_in_chunks_gives_what_it_gives_at_once(model, lengths):
    ids = some_ids(model, 11)
    [whole] = run(model, [ids])
    ends = np.cumsum(lengths)
    steps = run(model, [ids[end - length : end] for end, length in zip(ends, lengths, strict=True)])
    for name in whole:
        if name.endswith(("scores", "probs")):  # their rows grow with what was seen
            for step, end in zip(steps, ends, strict=True):
                rows = slice(end - step[name].shape[1], end)
                assert_close(step[name], whole[name][:, rows, :end], name)
        elif name.endswith(("keys", "values")):
            assert_close(steps[-1][name], whole[name], name)
        else:
            axis = 1 if name.endswith((".q", ".k", ".v")) else 0
            assert_close(np.concatenate([step[name] for step in steps], axis=axis), whole[name], name)


@pytest.mark.parametrize("j", [0, 4, 10])
def test_changing_a_token_leaves_every_bit_before_it(model, j):
    ids = some_ids(model, 11)
    changed = [*ids[:j], (ids[j] + 1) % model.config.n_vocab, *ids[j + 1 :]]
    before, after = model.logits(ids), model.logits(changed)
    assert np.array_equal(before[:j], after[:j])
    assert (before[j:] != after[j:]).any(axis=-1).all()


@pytest.mark.parametrize("rows", ["all", "last"])
def test_a_batch_of_unequal_lengths_gives_each_what_it_gets_alone(model, rows):
    """To rounding: BLAS does not promise a row the same bits whatever the number of rows."""
    prompts = [some_ids(model, n, seed=n) for n in (3, 1, 9, 4)]
    caches = [model.new_cache() for _ in prompts]
    model.logits(prompts[3][:2], kv_cache=caches[3])  # the last one has a past
    chunks = [np.array(prompt) for prompt in [*prompts[:3], prompts[3][2:]]]
    together = forward(model.weights, model.config, chunks, caches, rows)
    alone = [model.logits(prompt) for prompt in prompts[:3]] + [model.logits(prompts[3])[2:]]
    wanted = np.concatenate([x if rows == "all" else x[-1:] for x in alone])
    assert_close(together, wanted)
    assert [cache.n_past for cache in caches] == [3, 1, 9, 4]


def test_each_sequence_of_a_batch_is_observed_under_its_own_number(model):
    prompts = [np.array(some_ids(model, n, seed=n)) for n in (3, 1, 9)]
    seen: list[Step] = [{} for _ in prompts]
    forward(
        model.weights,
        model.config,
        prompts,
        [model.new_cache() for _ in prompts],
        observer=lambda sequence, name, x: seen[sequence].update({name: x}),
    )
    for prompt, step in zip(prompts, seen, strict=True):
        [alone] = run(model, [prompt])
        del alone["returned"]
        assert step.keys() == alone.keys()
        for name in step:
            assert_close(step[name], alone[name], name)


def test_the_last_row_alone_is_the_last_row_of_all(model):
    ids = some_ids(model, 7)
    last = model.logits(ids, rows="last")
    assert last.shape == (1, model.config.n_vocab)
    assert_close(last, model.logits(ids)[-1:])


def test_the_same_call_gives_the_same_bits(model):
    ids = some_ids(model, 7)
    assert np.array_equal(model.logits(ids), model.logits(ids))


@pytest.mark.parametrize("rows", ["all", "last"])
def test_an_observer_changes_no_bit_even_if_it_writes_into_what_it_was_given(model, rows):
    ids = some_ids(model, 9)

    def spoil(_: int, name: str, x: Array) -> None:
        x[...] = 7

    watched, unwatched = model.new_cache(), model.new_cache()
    for chunk in (ids[:6], ids[6:8], ids[8:]):
        got = model.logits(chunk, rows, watched, observer=spoil)
        assert np.array_equal(got, model.logits(chunk, rows, unwatched))


def test_what_was_observed_stays_as_it_was_while_the_model_runs_on(model):
    ids, cache = some_ids(model, 9), model.new_cache()
    [step] = run(model, [ids[:5]], cache)
    kept = {name: x.copy() for name, x in step.items()}
    run(model, [ids[5:8], ids[8:]], cache)
    for name, x in step.items():
        assert np.array_equal(x, kept[name], equal_nan=True), name


def test_queries_a_few_at_a_time_give_what_they_give_at_once(model, monkeypatch):
    """Every checkpoint, full scores and weights among them; and an observer changes no bit."""
    ids = some_ids(model, 11)
    whole = run(model, [ids[:4], ids[4:]])
    monkeypatch.setattr(gpt2, "QUERIES", 3)
    for few, at_once in zip(run(model, [ids[:4], ids[4:]]), whole, strict=True):
        assert few.keys() == at_once.keys()
        for name in few:
            assert_close(few[name], at_once[name], name)
    assert np.array_equal(model.logits(ids), run(model, [ids])[0]["returned"])


def test_what_was_returned_stays_as_it_was_while_the_model_runs_on(model):
    cache = model.new_cache()
    returned = [
        model.logits(chunk, rows, cache) for chunk in ([1, 2, 3], [4], [5]) for rows in ("all", "last")
    ]
    kept = [x.copy() for x in returned]
    model.logits([6, 7], "all", cache)
    assert all(np.array_equal(x, y) for x, y in zip(returned, kept, strict=True))


def test_a_step_needs_no_more_memory_for_a_longer_past_than_its_row_of_scores(tiny_folder):
    """Traced by Python's own count: 4 bytes for each head and position, and nothing beside them."""
    model = load(tiny_folder(n_positions=16))
    peaks = []
    for n_past in (2, 14):
        cache = model.new_cache()
        model.logits([1] * n_past, "last", cache)
        tracemalloc.start()
        model.logits([1], "last", cache)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] <= 2 * 4 * 12 + 64  # 64: what Python itself takes differs from run to run


@pytest.mark.parametrize(("by_layer", "divisors"), [(False, [1, 1]), (True, [1, 2])])
def test_scores_are_divided_by_the_number_of_the_layer_where_the_config_says_so(
    tiny_folder, by_layer, divisors
):
    model = load(tiny_folder(scale_attn_by_inverse_layer_idx=by_layer))
    [step] = run(model, [some_ids(model, 5)])
    visible = np.tril(np.ones((5, 5), bool))
    for n, divisor in enumerate(divisors):
        q, keys = (step[f"h.{n}.attn.{x}"].astype(np.float64) for x in ("q", "keys"))
        wanted = q @ keys.transpose(0, 2, 1) / np.sqrt(6) / divisor
        assert_close(step[f"h.{n}.attn.scores"][:, visible], wanted[:, visible])


def test_an_untied_head_is_the_one_that_makes_the_logits(tiny_folder):
    model = load(tiny_folder(tie_word_embeddings=False))
    [step] = run(model, [some_ids(model, 5)])
    assert_close(step["logits"], step["ln_f"].astype(np.float64) @ model.weights.lm_head.T)
    assert not np.array_equal(model.weights.lm_head, model.weights.wte)


@pytest.fixture
def begun(tiny_folder: Callable[..., Path]) -> tuple[Model, KVCache]:
    """A tiny model of 300 tokens and 16 positions, and a cache with room for 8 that holds 5."""
    model = load(tiny_folder())
    cache = model.new_cache(8)
    model.logits([1, 2, 3, 4, 5], kv_cache=cache)
    return model, cache


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ([6, 7, 8, 9], "room for 8 positions, wanted 9"),
        ([6, 300], "the id 300 (wanted 0 to 299)"),
        ([-1, 6], "the id -1 (wanted 0 to 299)"),
        ([], "at least one id"),
        ([[6, 7]], "in one row"),
        ([6] * 17, "17 tokens, and the model 16 positions"),
        ([6] * 12, "5 positions are in the cache and 12 are new; the model has 16"),
    ],
)
def test_what_cannot_be_read_is_refused_before_any_work(begun, ids, words):
    model, cache = begun
    seen: list[str] = []
    with pytest.raises(UsageError) as caught:
        model.logits(ids, kv_cache=cache, observer=lambda _, name, x: seen.append(name))
    assert words in str(caught.value)
    assert not seen and cache.n_past == 5
    after = model.logits([6, 7, 8], kv_cache=cache)  # as if nothing had been asked
    assert_close(after, model.logits([1, 2, 3, 4, 5, 6, 7, 8])[5:])


def test_a_batch_with_one_cache_too_small_is_refused_before_any_of_it_is_read(begun):
    model, small = begun
    large, seen = model.new_cache(), []
    with pytest.raises(UsageError, match="room for 8 positions, wanted 9"):
        forward(
            model.weights,
            model.config,
            [np.array([1, 2]), np.array([6, 7, 8, 9])],
            [large, small],
            observer=lambda _, name, x: seen.append(name),
        )
    assert (large.n_past, small.n_past, seen) == (0, 5, [])


def test_a_cache_is_filled_to_its_last_position_and_the_model_to_n_ctx(begun):
    model, cache = begun
    model.logits([6, 7, 8], kv_cache=cache)
    assert cache.n_past == cache.capacity == 8
    assert model.logits(list(range(16)), kv_cache=model.new_cache()).shape == (16, 300)
