"""The kernels' forward pass against the NumPy engine's, in every way of reading."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("numba", reason="numba is not installed (pip install 'llorch[fast]')")

from llorch_core.engine.errors import UsageError
from llorch_core.engine.model import load as load_numpy
from llorch_core.fast.choose import load
from llorch_core.fast.forward import MOST_ROWS
from llorch_core.fast.packed import KINDS

FUNCTIONS = ["gelu_new", "gelu", "gelu_fast", "quick_gelu", "relu", "silu", "tanh"]


def close(got, wanted):
    """To rounding; the NumPy engine is held to the specs by `llorch verify`, and so are the kernels."""
    return np.allclose(got, wanted, rtol=1e-4, atol=1e-4 * max(1.0, np.abs(wanted).max()))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_activation_gives_the_logits_of_the_numpy_engine(tiny_folder, function):
    folder = tiny_folder(activation_function=function)
    ids = [5, 1, 4, 1, 5, 9]
    assert close(load(folder, "fast").logits(ids), load_numpy(folder).logits(ids))


@pytest.mark.parametrize(
    "changes",
    [
        {"n_layer": 1},
        {"tie_word_embeddings": False},
        {"scale_attn_by_inverse_layer_idx": True},
        {"scale_attn_weights": False},
        {"n_head": 12},
        {"n_head": 1, "n_inner": 7},
        {"vocab_size": 257, "bos_token_id": 0, "eos_token_id": 0},
    ],
    ids=str,
)
def test_every_shape_and_switch_gives_the_logits_of_the_numpy_engine(tiny_folder, changes):
    folder = tiny_folder(**changes)
    ids = [5, 1, 4, 1, 5, 9]
    assert close(load(folder, "fast").logits(ids), load_numpy(folder).logits(ids))


@pytest.mark.untraced
@pytest.mark.parametrize("kind", KINDS)
def test_chunks_and_single_tokens_give_what_one_reading_gives(kind):
    model = load(None, "fast", kind)
    ids = list(range(3, 3 + MOST_ROWS + 9))  # the first chunk is read as matrices, the others row by row
    whole = model.logits(ids)
    for chunks in ([MOST_ROWS + 1, 7, 1], [MOST_ROWS, 8, 1], [1] * len(ids)):
        cache, rows, start = model.new_cache(), [], 0
        for count in chunks:
            rows.append(model.logits(ids[start : start + count], kv_cache=cache))
            start += count
        assert close(np.concatenate(rows), whole)


def test_sequences_of_unequal_lengths_are_read_together_as_alone():
    model = load(None, "fast", "int8")
    prompts = [[1], [2, 3, 4], [5, 6, 7, 8, 9, 10]]
    caches = [model.new_cache(20) for _ in prompts]
    for _ in range(3):  # the second and third time, one token each
        new = [np.array(prompt[cache.n_past :]) for prompt, cache in zip(prompts, caches, strict=True)]
        together = model.forward(new, caches, "last")
        for prompt, row in zip(prompts, together, strict=True):
            assert close(row, model.logits(prompt, "last")[0])
            prompt.append(int(row.argmax()))


@pytest.mark.untraced
@pytest.mark.parametrize("kind", KINDS)
def test_a_token_gets_the_bits_that_it_gets_alone_whoever_is_read_beside_it(kind):
    model, rng = load(None, "fast", kind), np.random.default_rng(8)
    prompts = [rng.integers(0, model.config.n_vocab, n) for n in range(3, 3 + MOST_ROWS)]
    tokens = [rng.integers(0, model.config.n_vocab, 1) for _ in prompts]

    def together(count):
        caches = [model.new_cache(40) for _ in prompts]
        for prompt, cache in zip(prompts, caches, strict=True):
            model.forward([prompt], [cache], "last")
        starts = range(0, MOST_ROWS, count)
        return np.concatenate([model.forward(tokens[i : i + count], caches[i : i + count]) for i in starts])

    alone = together(1)
    for count in (2, 3, 5, 8, 11, MOST_ROWS):
        assert together(count).tobytes() == alone.tobytes(), f"{count} at a time"


def test_more_sequences_than_a_step_has_rows_are_read_as_alone_and_shown_by_their_number():
    model, ids = load(None, "fast"), list(range(7, 7 + 2 * MOST_ROWS + 1))

    def read(observer=None):
        caches = [model.new_cache(3) for _ in ids]
        model.forward([np.array([i, i + 1]) for i in ids], caches, "last")
        return model.forward([np.array([i + 2]) for i in ids], caches, "last", observer)

    seen = {}
    rows = read(lambda sequence, name, x: seen.update({(sequence, name): x}))
    assert np.array_equal(rows, read())
    for n, i in enumerate(ids):
        assert close(rows[n], model.logits([i, i + 1, i + 2], "last")[0])
        assert np.array_equal(seen[n, "ids"], [i + 2])
        assert np.array_equal(seen[n, "logits"], rows[n : n + 1])
    caches = [model.new_cache(2) for _ in ids]
    caches[-1].n_past = 2
    with pytest.raises(UsageError, match="room for 2"):
        model.forward([np.array([i]) for i in ids], caches, "last")
    assert [cache.n_past for cache in caches[:-1]] == [0] * (len(ids) - 1)


@pytest.mark.parametrize("count", [1, 6, MOST_ROWS, MOST_ROWS + 5])
def test_who_looks_on_changes_no_bit_and_sees_what_the_numpy_engine_shows(count):
    ids = list(range(7, 7 + count))
    model, numpy_model = load(None, "fast"), load_numpy(None)
    seen, wanted = {}, {}
    shown = model.logits(ids, observer=lambda sequence, name, x: seen.update({name: x}))
    assert np.array_equal(shown, model.logits(ids))
    numpy_model.logits(ids, observer=lambda sequence, name, x: wanted.update({name: x}))
    assert list(seen) == list(wanted)
    for name, x in wanted.items():
        finite = np.isfinite(x)
        assert np.array_equal(finite, np.isfinite(seen[name])), name
        assert close(seen[name][finite], x[finite]), name


def test_what_was_handed_out_is_not_changed_by_a_later_call():
    model = load(None, "fast")
    cache = model.new_cache()
    first = model.logits([1, 2, 3], kv_cache=cache)
    kept = first.copy()
    model.logits([4], kv_cache=cache)
    assert np.array_equal(first, kept)


def test_a_cache_without_room_is_refused_before_anything_is_written():
    model = load(None, "fast")
    cache = model.new_cache(4)
    model.logits([1, 2, 3], kv_cache=cache)
    with pytest.raises(UsageError, match="room for 4"):
        model.logits([1, 2], kv_cache=cache)
    assert cache.n_past == 3


def test_one_thread_gives_what_two_give_to_rounding():
    ids = [1, 2, 3]
    assert close(load(None, "fast", threads=1).logits(ids), load(None, "fast", threads=3).logits(ids))


@pytest.mark.parametrize(
    ("backend", "precision", "said"),
    [
        ("gpu", "auto", "there is no gpu"),
        ("fast", "int3", "there is no int3"),
        ("numpy", "int8", "NumPy backend"),
    ],
)
def test_what_no_backend_has_is_refused(backend, precision, said):
    with pytest.raises(UsageError, match=said):
        load(None, backend, precision)


@pytest.mark.untraced
def test_threads_may_read_at_the_same_time():
    model = load(None, "fast")
    prompts = [list(range(i, i + 5 + 20 * (i % 2))) for i in range(6)]
    alone = [model.logits(prompt) for prompt in prompts]
    with ThreadPoolExecutor(6) as pool:
        for _ in range(5):
            together = list(pool.map(model.logits, prompts, timeout=60))
            assert all(a.tobytes() == b.tobytes() for a, b in zip(alone, together, strict=True))
