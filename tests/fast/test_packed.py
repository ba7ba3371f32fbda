"""What is packed is what the kernels multiply with, as near to the weights as the precision allows."""

import numpy as np
import pytest

pytest.importorskip("numba", reason="numba is not installed (pip install 'llorch[fast]')")

from llorch_core.fast.forward import Head, Matrix
from llorch_core.fast.many import Many
from llorch_core.fast.packed import KINDS, from_bfloat16, pack, to_bfloat16
from llorch_core.fast.team import Team

MANY = Many(Team(2), plain=True)  # of the rest, test_many.py says what it leaves out
SHAPES = [(1, 1), (16, 8), (40, 12), (97, 100), (300, 64)]  # outputs, inputs


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_product_is_that_of_the_weights_that_are_shown_for_any_number_of_rows(kind, shape):
    packed = pack(normal(*shape), kind)
    matrix, shown = Matrix(packed, MANY), packed.rows(slice(None)).astype(np.float64)
    for count in (1, 2, 3, 4, 7, 8, 13, 33):
        x = normal(count, shape[1], seed=count)
        wanted = x.astype(np.float64) @ shown.T
        bound = 4 * shape[1] * 2.0**-24 * (np.abs(x).astype(np.float64) @ np.abs(shown).T)
        got = x @ matrix
        assert got.shape == wanted.shape
        assert (np.abs(got - wanted) <= bound).all()


def test_float32_is_kept_bit_by_bit():
    weight = normal(97, 100)
    assert np.array_equal(pack(weight, "float32").rows(slice(None)), weight)


def test_bfloat16_is_the_nearest_one_and_ties_go_to_the_even():
    weight = np.array([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -(1 + 2**-8), 3.3e38, 0.0], np.float32)
    wanted = np.array([1, 1 + 4 * 2**-8, 1 + 2**-7, -1, 3.3e38, 0], np.float32)
    got = from_bfloat16(to_bfloat16(weight))
    assert np.array_equal(got[:4], wanted[:4])
    assert abs(got[4] / wanted[4] - 1) <= 2**-8
    normals = normal(1000)
    assert (np.abs(from_bfloat16(to_bfloat16(normals)) - normals) <= np.abs(normals) * 2**-8).all()


@pytest.mark.parametrize(("kind", "largest", "group"), [("int8", 127, 64), ("int4", 7, 32)])
def test_a_quantised_weight_is_off_by_half_a_step_of_its_group_at_most(kind, largest, group):
    weight = normal(48, 256)
    weight[:, :group] *= 1000  # a group of outliers takes nothing from its neighbours
    shown = pack(weight, kind).rows(slice(None))
    groups = np.abs(weight.reshape(48, -1, group)).max(axis=2)
    step = np.repeat(groups / largest * (1 + 2**-7), group, axis=1)  # the scale is rounded up to a bfloat16
    assert (np.abs(shown - weight) <= step / 2 * (1 + 1e-6)).all()
    assert len(np.unique(shown[0, group : 2 * group])) <= 2 * largest + 1


def test_zeros_stay_zeros_and_padding_is_zero():
    weight = np.zeros((20, 70), np.float32)
    for kind in KINDS:
        packed = pack(weight, kind)
        assert not packed.rows(slice(None)).any()
        assert not packed.panels.any()


def test_rows_are_looked_up_by_their_ids():
    weight = normal(300, 64)
    for kind in KINDS:
        head = Head(pack(weight, kind), MANY)
        ids = np.array([299, 0, 17, 17])
        assert np.array_equal(head[ids], head.packed.rows(slice(None))[ids])
        assert head.T is head


@pytest.mark.parametrize(
    ("kind", "bytes_each"), [("float32", 4), ("bfloat16", 2), ("int8", 1.03125), ("int4", 0.5625)]
)
def test_packed_weights_take_what_their_precision_takes(kind, bytes_each):
    packed = pack(normal(640, 256), kind)
    assert packed.panels.nbytes + packed.scales.nbytes == 640 * 256 * bytes_each
