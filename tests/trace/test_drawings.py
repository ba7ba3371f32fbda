"""Geometry of the drawings: nothing small is lost, nothing wrong looks right, nothing leaves its frame."""

import math
from itertools import pairwise

import pytest

from llorch_core.trace import drawings
from llorch_core.trace.drawings import BAR, HIGH, LEFT, TOP, WIDE, Axis, errors, status_bar, strip, window
from tests.trace.traces import component, whole


def test_an_axis_is_logarithmic_and_holds_everything():
    axis = Axis(-3, 3, 60.0)
    assert [axis.at(x) for x in (1e-3, 1e-2, 1.0, 1e3)] == [0.0, 10.0, 30.0, 60.0]
    assert axis.at(0.0) == axis.at(1e-9) == 0.0
    assert axis.at(1e99) == axis.at(math.inf) == axis.at(math.nan) == 60.0


def test_ticks_are_powers_of_ten_and_one_of_them_is_the_tolerance():
    for last in range(3, 8):
        ticks = dict(Axis(-3, last, 100.0).ticks())
        assert "1" in ticks.values()
        assert len(ticks) <= 8
    assert [name for _, name in Axis(-4, 0, 1.0).ticks()] == ["0.0001", "0.001", "0.01", "0.1", "1"]


def test_a_bar_is_in_proportion_and_a_single_rule_is_seen():
    parts = status_bar([("proved", 998), ("failed", 2)])
    assert [part.status for part in parts] == ["proved", "failed"]
    assert parts[1].width >= drawings.LEAST * 0.95
    assert parts[0].x == 0
    assert parts[1].x == pytest.approx(parts[0].width, abs=0.02)
    assert sum(part.width for part in parts) == pytest.approx(BAR, abs=0.1)
    half = status_bar([("proved", 50), ("failed", 50)])
    assert [part.width for part in half] == [BAR / 2, BAR / 2]
    assert status_bar([]) == []


def test_the_bar_of_a_trace_has_every_status():
    found = {part.status: part.rules for part in drawings.whole_bar(whole())}
    assert found == whole()["totals"]["statuses"]


# Worst errors by layer


def test_an_error_past_its_tolerance_stands_above_the_limit():
    layers, last = errors(whole()["components"][0])
    assert [mark.kind for mark in layers.marks] == ["in", "exact", "out"]
    right, exact, wrong = layers.marks
    assert wrong.y < layers.limit < right.y < exact.y == TOP + HIGH
    assert [mark.name for mark in layers.marks] == ["0", "1", "2"]
    assert wrong.title == "block 2: 3 of its tolerance"
    assert exact.title == "block 1: exact"
    (mark,) = last.marks
    assert (mark.kind, mark.name, mark.title) == ("out", "", "∞ of its tolerance")
    assert mark.y == TOP
    assert layers.ticks == last.ticks


def test_charts_stay_in_their_frame_also_with_many_blocks():
    entry = {
        "checkpoint": "h.N.out",
        "layers": [{"layer": n, "share": 10.0 ** (n % 9 - 5)} for n in range(48)],
    }
    (chart,) = errors(component("deep", "arithmetic", errors=[entry]))
    assert chart.width < 700
    for mark in chart.marks:
        assert LEFT < mark.x < chart.width
        assert TOP <= mark.y <= TOP + HIGH
    named = [mark.x for mark in chart.marks if mark.name]
    assert min(b - a for a, b in pairwise(named)) > 20


def test_without_errors_the_limit_is_the_top_of_a_chart():
    entry = {"checkpoint": "embed", "layers": [{"layer": None, "share": 0.1}]}
    (chart,) = errors(component("a", "arithmetic", errors=[entry]))
    assert chart.limit == TOP
    assert chart.text == "at most 0.1"
    assert errors(component("b", "behaviour")) == []


# Windows


def test_a_window_has_noise_below_the_tolerance_and_the_mistake_above():
    found = window(whole()["components"][0])
    assert 0 < found.honest < found.quarter < found.limit < found.four < found.wrong < WIDE
    assert found.text.startswith("Honest engines use up to 0.125 of the tolerance; norm.wrong")
    assert found.text.endswith("is 35.5 tolerances away.")
    assert [label.text for label in found.labels] == ["noise 0.125", "nearest mistake 35.5"]


def test_a_window_without_noise_and_without_end_stays_in_its_frame():
    found = window(whole()["components"][1])
    assert (found.honest, found.wrong) == (0, WIDE)
    assert found.labels[0].anchor == "start"
    assert found.labels[1].anchor == "end"
    assert "are exact" in found.text
    assert "∞" in found.labels[1].text
    assert window(whole()["components"][2]) is None


def test_noise_past_the_tolerance_is_drawn_past_it():
    spoiled = component("a", "arithmetic", window={"noise": 2.0, "nearest": 0.5, "mistake": "a.b"})
    found = window(spoiled)
    assert found.wrong < found.limit < found.honest


def test_a_strip_is_full_at_the_tolerance_and_beyond():
    assert [strip(share) for share in (0.0, 1e-4, 1e-2, 1.0, 7.0, math.inf)] == [0, 0, 50, 100, 100, 100]
