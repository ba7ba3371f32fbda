"""What is computed for many rows, against float64: products in parts, and attention."""

import subprocess
import sys
from pathlib import Path
from shutil import copytree, ignore_patterns

import numpy as np
import pytest

pytest.importorskip("numba", reason="numba is not installed (pip install 'llorch[fast]')")

from llorch_core.engine import gpt2
from llorch_core.fast import amx, digits
from llorch_core.fast.choose import load
from llorch_core.fast.forward import Matrix
from llorch_core.fast.many import BLOCK_K, BLOCK_ROWS, Many
from llorch_core.fast.packed import KINDS, pack
from llorch_core.fast.team import Team

needs_unit = pytest.mark.skipif(not amx.usable(), reason="this processor has no AMX, or the system keeps it")
WAYS = [pytest.param(False, marks=needs_unit, id="matrix unit"), pytest.param(True, id="plain")]
LEFT_OUT = {"float32": 2**-22, "bfloat16": 2**-17, "int8": 2**-16, "int4": 2**-16}  # of |x| @ |w|


@pytest.mark.untraced
@pytest.mark.parametrize("plain", WAYS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("n_rows", "n_in", "n_out"), [(17, 32, 5), (32, 64, 96), (BLOCK_ROWS + 33, BLOCK_K + 32, 65)]
)
def test_a_product_of_many_rows_leaves_out_no_more_than_it_says(plain, kind, n_rows, n_in, n_out):
    random = np.random.default_rng(n_rows)
    packed = pack(random.standard_normal((n_out, n_in)).astype(np.float32), kind)
    x = random.standard_normal((n_rows, n_in)).astype(np.float32)
    shown, exact = packed.rows(slice(None)).T.astype(np.float64), x.astype(np.float64)
    got = x @ Matrix(packed, Many(Team(2), plain))
    assert got.shape == (n_rows, n_out)
    rounding = 2**-24 * np.sqrt(n_in) * 2  # of sums in float32
    assert (
        np.abs(got - exact @ shown) <= (LEFT_OUT[kind] + rounding) * (np.abs(exact) @ np.abs(shown))
    ).all()


@pytest.mark.parametrize("plain", WAYS)
@pytest.mark.parametrize(
    ("n_head", "n_new", "n_past", "head_dim"),
    [(2, 32, 0, 64), (3, 41, 0, 24), (2, 9, 70, 80), (1, 130, 3, 12)],
)
def test_attention_of_many_queries_is_softmax_of_what_each_may_see(plain, n_head, n_new, n_past, head_dim):
    random = np.random.default_rng(n_new)
    n_keys = n_past + n_new
    q, k, v = (
        random.standard_normal((n_head, n, head_dim)).astype(np.float32) for n in (n_new, n_keys, n_keys)
    )
    scale = 1 / np.sqrt(head_dim)
    hidden = np.arange(n_keys) > np.arange(n_past, n_keys)[:, None]
    scores = np.where(hidden, -np.inf, (q.astype(np.float64) * scale) @ k.transpose(0, 2, 1))
    probs = np.exp(scores - scores.max(axis=-1, keepdims=True))
    probs /= probs.sum(axis=-1, keepdims=True)
    wanted = (probs @ v).transpose(1, 0, 2).reshape(n_new, -1)
    context, alone = (np.empty((n_new, n_head * head_dim), np.float32) for _ in range(2))
    shown = {
        "scores": np.full(scores.shape, -np.inf, np.float32),
        "probs": np.zeros(scores.shape, np.float32),
    }
    config = load().config
    room = gpt2.Buffers(config, n_new, n_new * n_keys)
    many = Many(Team(2), plain)
    many.attend(q, k, v, scale, room, context, shown)
    many.attend(q, k, v, scale, room, alone, None)
    assert np.array_equal(context, alone)
    assert np.allclose(context, wanted, atol=3e-6)
    assert np.allclose(shown["probs"], probs, atol=1e-6)
    assert np.array_equal(np.isinf(shown["scores"]), np.broadcast_to(hidden, scores.shape))
    assert np.allclose(shown["scores"][~np.isinf(shown["scores"])], scores[~np.isinf(scores)], atol=3e-6)


@pytest.mark.skipif(not digits.COMPILED, reason="this processor has no AVX-512 VNNI")
@pytest.mark.parametrize("kind", digits.ABOVE)
@pytest.mark.parametrize("n_rows", [1, 2, 4, 8, 15])
def test_a_product_in_digits_is_exact_but_for_the_last_bit_of_the_largest_of_a_group(kind, n_rows):
    random = np.random.default_rng(n_rows)
    packed = pack(random.standard_normal((70, 130)).astype(np.float32), kind)
    x = random.standard_normal((n_rows, 130)).astype(np.float32)
    x[0, :64] *= 1e-20
    x[-1, 64:128] = 0
    matrix = Matrix(packed, Many(Team(2)))
    assert matrix.entry[8] > 0
    weights = packed.rows(slice(None)).T.astype(np.float64)
    wide = np.zeros((n_rows, matrix.width))
    wide[:, :130] = x
    largest = np.abs(wide.reshape(n_rows, -1, packed.group)).max(axis=2)
    step = np.repeat(largest / digits.LARGEST, packed.group, axis=1)[:, :130]
    exact = x.astype(np.float64)
    bound = (step / 2 + 2**-24 * 20 * np.abs(exact)) @ np.abs(weights)
    assert (np.abs(x @ matrix - exact @ weights) <= bound).all()


@pytest.mark.skipif(not digits.COMPILED, reason="this processor has no AVX-512 VNNI")
@pytest.mark.parametrize("kind", digits.ABOVE)
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_shows_in_a_product_of_digits(kind, wrong):
    matrix = Matrix(pack(np.ones((32, 64), np.float32), kind), Many(Team(2)))
    x = np.ones((3, 64), np.float32)
    x[1, 7] = wrong
    assert np.isfinite(x @ matrix).all(axis=1).tolist() == [True, False, True]


@pytest.mark.untraced
@pytest.mark.parametrize("kind", KINDS)
def test_long_and_short_sequences_together_give_what_each_gives_alone(kind):
    model = load(None, "fast", kind)
    prompts = [np.arange(40) + 5, np.arange(3) + 7, np.arange(90) + 9]
    together = model.forward(prompts, [model.new_cache() for _ in prompts], "last")
    for prompt, row in zip(prompts, together, strict=True):
        alone = model.logits(prompt, "last")[0]
        assert np.abs(row - alone).max() <= 1e-4 * np.abs(alone).max()


def test_what_was_compiled_is_not_used_when_another_file_of_the_room_changed(tmp_path):
    """The kernels are in one file, and the inner product that they call is in another."""
    root = Path(__file__).resolve().parents[2]
    copytree(root / "llorch_core", tmp_path / "llorch_core", ignore=ignore_patterns("__pycache__"))
    code = (
        "import numpy as np; from llorch_core.fast.kernels import activate;"
        "x, y = np.ones(4, np.float32), np.empty(4, np.float32); activate(4, x, y, 0, 4);"
        "print(sum(activate.stats.cache_hits.values()))"
    )

    def hits() -> str:
        command = [sys.executable, "-c", code]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout.strip()

    assert [hits(), hits()] == ["0", "1"]
    other = tmp_path / "llorch_core" / "fast" / "tiles.py"
    other.write_text(other.read_text() + "\n")
    assert [hits(), hits()] == ["0", "1"]
