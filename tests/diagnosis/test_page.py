"""The page: whole, self-contained, escaped; and its pictures."""

import base64
import re
import struct
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest

from llorch_core.diagnosis import pictures
from llorch_core.diagnosis.page import page
from llorch_core.diagnosis.result import UNDECIDED
from tests.diagnosis.conftest import caused, compared, diagnosis, wrong

HOSTILE = "<script>alert('x')</script>\"><img src=http://evil.example/x.png onerror=alert(1)>"
VOID = {"meta", "br", "img", "link", "hr", "input"}


class Page(HTMLParser):
    """Checks that every tag is closed in order; keeps tags, attributes, ids and text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, key, value) for key, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, key, value) for key, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text += data


def whole(shown):
    return diagnosis(
        wrong(shown=shown((2, 3, 5)), index=(0, 1, 2)),
        wrong("h.1.mlp.out", 1, causes=()),
        not_observed=("ln_f",),
        notes=("masked scores were accepted",),
    )


def test_a_page_is_valid_and_needs_nothing_from_elsewhere(shown):
    text = page(whole(shown))
    found = Page(text)
    assert "script" not in found.tags
    assert not {"link", "iframe", "object", "embed", "base", "form"} & set(found.tags)
    assert not re.search(r"https?://|url\(|@import|javascript:", text)
    for tag, key, value in found.attributes:
        assert not key.startswith("on")
        assert key != "src"
        if key in ("href", "xlink:href"):
            assert (tag, value.partition(",")[0]) == ("image", "data:image/png;base64")
    ids = [value for _, key, value in found.attributes if key == "id"]
    assert len(ids) == len(set(ids))
    for _, key, value in found.attributes:
        assert key != "aria-labelledby" or value in ids
    assert text.startswith("<!doctype html>")
    assert ("html", "lang", "en") in found.attributes
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_a_page_says_what_the_terminal_says(shown):
    text = " ".join(Page(page(whole(shown))).text.split())
    for part in (
        "my_dump.safetensors with gpt2 does not conform",
        "step 0, block 1, h.1.mlp.act [0, 1, 2]",
        "mlp.erf_gelu",
        "act = 0.5 * fc * (1 + erf(fc / sqrt(2)))",
        "seen in microsoft/onnxruntime#2270",
        "h.1.mlp.out at step 1: unlike anything listed",
        "Not observed: ln_f",
        "masked scores were accepted",
        "[5, 9, 5] [7]",
        "1 of 30 elements outside",
        "if it is mlp.erf_gelu",
    ):
        assert part in text


def test_names_of_a_stranger_are_escaped(shown):
    found = diagnosis(
        wrong(HOSTILE, shown=shown(), note=HOSTILE, causes=(caused(HOSTILE),)),
        wrong("h.0.mlp.act", shapes=HOSTILE, index=()),
        engine=HOSTILE,
        model=HOSTILE,
        not_observed=(HOSTILE,),
        notes=(HOSTILE,),
        right=(HOSTILE,),
    )
    read = Page(page(found))
    assert not {"script", "img"} & set(read.tags)
    assert not [key for _, key, _ in read.attributes if key.startswith("on") or key == "src"]
    assert read.text.count("<script>alert('x')</script>") >= 6


@pytest.mark.parametrize(
    "found",
    [
        diagnosis(),
        diagnosis(not_observed=("ln_f",)),
        diagnosis(verdict=UNDECIDED, right=()),
        diagnosis(wrong(causes=())),
        diagnosis(wrong(causes=(caused("signature.scaled"),))),
        diagnosis(wrong(causes=(caused(), caused("mlp.relu", same_numbers=("mlp.erf_gelu",))))),
        diagnosis(wrong(hidden=True, share=0.3)),
        diagnosis(wrong("logits", harmless=True, share=float("inf"), got=float("nan"))),
        diagnosis(wrong(shapes="got the shape [2], wanted [3]", index=())),
        diagnosis(wrong("text", step=None), right=()),
    ],
)
def test_every_kind_of_diagnosis_makes_a_page(found):
    assert found.engine in Page(page(found)).text


def test_a_long_table_is_cut_and_says_so():
    found = diagnosis(*(wrong(f"h.{n}.mlp.act") for n in range(510)))
    assert "and 10 more" in Page(page(found)).text


# Colours


def test_colours_tell_inside_from_outside_and_grow_with_the_logarithm():
    assert pictures.colour(0.0)[:3] == pictures.colour(1.0)[:3] == pictures.INSIDE
    assert pictures.colour(1.0)[3] > pictures.colour(0.1)[3] > pictures.colour(0.0)[3]
    assert pictures.colour(1.0001)[:3] == pictures.OUTSIDE[0]
    assert pictures.colour(100.0)[:3] == pictures.OUTSIDE[1]
    assert pictures.colour(1e4)[:3] == pictures.OUTSIDE[2]
    assert pictures.colour(1e6) == pictures.colour(1e99) == pictures.colour(float("inf"))


def read_png(uri):
    """Return the palette's index of each cell, and the colours of the palette."""
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        (size,), kind = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + size]
        (check,) = struct.unpack(">I", data[at + 8 + size : at + 12 + size])
        assert zlib.crc32(kind + body) == check
        chunks[kind] = body
        at += 12 + size
    width, height, depth, kind, *_ = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, kind) == (8, 3)
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not rows[:, 0].any()
    return rows[:, 1:], np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(-1, 3)


def test_a_png_has_the_colour_of_each_error_and_one_tolerance_is_inside():
    errors = np.array([[0.0, 1e-9, 0.5, 1.0], [1.001, 100.0, 1e6, np.inf]])
    cells, palette = read_png(pictures.png(errors))
    colours = palette[cells]
    assert (colours[0] == pictures.INSIDE).all()
    for k, share in enumerate(errors[1]):
        assert np.abs(colours[1, k].astype(int) - pictures.colour(share)[:3]).max() <= 12


def test_a_cell_of_a_heat_map_is_the_worst_of_its_elements():
    x = np.zeros((3, 300))
    x[2, 299] = 7.0
    small, size = pictures.pool(x, 128)
    assert size == (1, 3)
    assert small.shape == (3, 100)
    assert small[2, 99] == 7.0
    assert small.sum() == 7.0


def test_a_single_wrong_element_of_a_large_tensor_is_seen(shown):
    tensors = shown((40, 3000))
    found = pictures.heat_map(wrong(shown=tensors))
    (panel,) = found.panels
    assert max(panel.width, panel.height) <= pictures.MOST_CELLS
    cells, palette = read_png(panel.png)
    outside = (palette[cells] != pictures.INSIDE).any(axis=-1)
    assert np.argwhere(outside).tolist() == [[1, 0]]
    assert panel.worst == (0.5, 1.5)
    assert (found.rows, found.columns) == ("position", "feature")
    assert len(panel.png) < 5000


def test_heads_have_a_panel_each_and_the_worst_one_is_always_drawn(shown):
    tensors = shown((40, 3, 5))
    tensors["got"][39, 2, 4] += 100
    found = pictures.heat_map(wrong("h.0.attn.q", shown=tensors))
    assert len(found.panels) == pictures.MOST_HEADS
    assert found.panels[-1].title == "head 39"
    assert found.panels[-1].worst == (4.5, 2.5)
    assert "32 of 40 are drawn" in found.text


def test_tensors_that_are_not_at_hand_make_no_picture(shown):
    assert pictures.heat_map(wrong()) is None
    assert pictures.histograms(wrong()) == []
    assert pictures.heat_map(wrong(shown={**shown(), "got": np.zeros((2, 2))})) is None


def test_histograms_hold_every_element_and_share_their_axes(shown):
    right, suspected = pictures.histograms(wrong(shown=shown()))
    assert right.text == "1 of 15 elements outside"
    assert suspected.text == "0 of 15 elements outside"
    assert right.ticks == suspected.ticks
    for histogram in (right, suspected):
        counts = [int(bar.title.split()[0].replace(",", "")) for bar in histogram.bars]
        assert sum(counts) == 15
    (outside,) = [bar for bar in right.bars if bar.outside and bar.height]
    assert outside.title == "1 element: 3.2 to 10 tolerances"
    assert outside.x >= right.tolerance
    assert all(bar.x < right.tolerance for bar in right.bars if not bar.outside)


def test_an_error_of_one_tolerance_is_inside_in_a_histogram_too(shown):
    (bar,) = [b for b in pictures.histograms(wrong(shown=shown(away=1.0)))[0].bars if b.height and b.x > 50]
    assert not bar.outside


def test_errors_that_are_not_finite_have_a_bar(shown):
    tensors = shown()
    tensors["got"][0, 0] = np.nan
    histogram = pictures.histograms(wrong(shown=tensors))[0]
    assert histogram.text == "2 of 15 elements outside"
    assert histogram.bars[-1].title.startswith("1 element: more than 10")


# The grid


def test_a_grid_shows_every_checkpoint_right_wrong_first_and_absent():
    found = diagnosis(wrong("h.0.mlp.act"), wrong("h.1.mlp.act"))
    (grid,), text = pictures.grids(found)
    kinds = {cell.title.partition(":")[0]: cell.kind for cell in grid.cells}
    assert kinds["embed"] == "right"
    assert kinds["h.0.mlp.act"] == "first"
    assert kinds["h.1.mlp.act"] == "wrong"
    assert kinds["h.1.ln_1"] == "absent"
    assert len(kinds) == 3 + 2 * 16
    assert text == ""
    places = [(cell.x, cell.y) for cell in grid.cells]
    assert len(places) == len(set(places))
    assert max(x for x, _ in places) < grid.width
    assert max(y for _, y in places) < grid.height


def test_of_many_calls_a_few_are_drawn_and_that_of_the_first_wrong_number_is_one():
    found = diagnosis(wrong("embed", 9), wrong("embed", 10), right=())
    found.__dict__["comparisons"] = (*(compared("embed", k) for k in range(9)), *found.comparisons)
    grids, text = pictures.grids(found)
    assert [grid.step for grid in grids] == [0, 1, 2, 3, 4, 9]
    assert text == "Not drawn: forward calls 5 to 8, 10; something is wrong in call 10."
