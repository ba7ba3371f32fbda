"""Engines are judged by logits and by ids, to what their precision can be off."""

from base64 import b64encode

import numpy as np
import pytest

from llorch_core.bench.judge import BOUNDS, GAPS, Judge, WrongError, error
from llorch_core.bench.plan import Job

# Spread 1: half of the numbers are 1, half -1. The row behind other prompts has 2, 2 - near and 0 in front.
ROW = np.array([1.0, -1.0] * 500, np.float32)
DECODE = Job("decode", {"do": "decode", "prompt": [1, 2], "count": 3})
BATCH = Job("batch 2", {"do": "batch", "prompts": [[1], [2]], "count": 2})
WANTED = {"decode": {"ids": [5, 0, 4]}, "batch 2": {"ids": [[5, 6], [0, 8]]}}


def judge(near=0.0):
    row = ROW.copy()
    row[:3] = [2.0, 2.0 - near, 0.0]
    asked = []

    def ask(prompt):
        asked.append(list(prompt))
        return row

    return Judge(WANTED, ROW, ask), asked


def logits(row):
    return {"logits": b64encode(row.astype("<f4").tobytes()).decode()}


def test_the_error_of_a_row_is_its_distance_in_spreads():
    assert error(ROW + np.float32(0.5), ROW) == pytest.approx(0.5)


@pytest.mark.parametrize("precision", BOUNDS)
def test_a_row_passes_up_to_the_bound_of_its_precision_and_no_further(precision):
    bound, (found, _) = BOUNDS[precision].error, judge()
    off = np.where(np.arange(1000) % 4 < 2, 1.0, -1.0) * bound
    assert found.logits(logits(ROW + 0.9 * off), precision) == pytest.approx(0.9 * bound, rel=1e-3)
    with pytest.raises(WrongError, match=f"wanted at most .* in {precision}"):
        found.logits(logits(ROW + 1.1 * off), precision)


@pytest.mark.parametrize("row", [ROW[:-1], np.full(1000, np.nan), np.zeros(1000)])
def test_a_row_that_is_short_not_finite_or_empty_is_wrong(row):
    with pytest.raises(WrongError):
        judge()[0].logits(logits(row), "int4")


def test_logits_that_are_no_base64_are_wrong():
    with pytest.raises(WrongError, match="cannot be read"):
        judge()[0].logits({"logits": "?"}, "float32")


def test_ids_that_agree_are_all_counted_and_nothing_more_is_asked():
    found, asked = judge()
    assert found.ids(DECODE, {"ids": [5, 0, 4]}, "float32") == 3
    assert found.ids(BATCH, {"ids": [[5, 6], [0, 8]]}, "float32") == 4
    assert asked == []


def test_the_first_id_that_differs_is_named_with_how_much_less_likely_it_is():
    found, asked = judge()
    with pytest.raises(WrongError, match=r"^decode: id 1 is 2 \(wanted 0\), which is 2 spreads less likely"):
        found.ids(DECODE, {"ids": [5, 2, 4]}, "float32")
    assert asked == [[1, 2, 5]]
    with pytest.raises(WrongError, match=r"^batch 2, row 1: id 0 is 2 "):
        found.ids(BATCH, {"ids": [[5, 6], [2, 8]]}, "float32")


def test_an_id_that_is_as_likely_to_the_precision_ends_the_comparison_of_its_row():
    gap = GAPS * BOUNDS["int8"].error
    found, _ = judge(near=0.9 * gap)
    assert found.ids(DECODE, {"ids": [5, 1, 9]}, "int8") == 1
    with pytest.raises(WrongError, match="float32 may mistake"):
        found.ids(DECODE, {"ids": [5, 1, 9]}, "float32")
    with pytest.raises(WrongError, match="int8 may mistake"):
        judge(near=1.1 * gap)[0].ids(DECODE, {"ids": [5, 1, 9]}, "int8")


@pytest.mark.parametrize("ids", [[5, 0], [5, 0, 4, 4], []])
def test_too_few_ids_and_too_many_are_wrong(ids):
    with pytest.raises(WrongError, match=r"wanted 3"):
        judge()[0].ids(DECODE, {"ids": ids}, "int4")


@pytest.mark.parametrize(
    "ids", [[[5, 6]], [5, 7], [[5, 6], [0, -1]], [[5, 6], [0, 1000]], [[5, 6], [0, "8"]]]
)
def test_rows_that_are_missing_or_hold_no_ids_are_wrong(ids):
    with pytest.raises(WrongError):
        judge()[0].ids(BATCH, {"ids": ids}, "int4")
