"""Facts are written with a row of a table on a line, and read back as they were."""

import json

from llorch_core.postmortem.dig import write
from llorch_core.postmortem.facts import read_facts
from tests.postmortem.example import make_facts

ROWS = [["a\nb", 1, None, True], ['\\u00000 and "quotes"', 2.5, "ü", False], ["\x000", 0, "", None]]


def test_each_row_is_a_line_and_nothing_in_it_is_lost(tmp_path):
    facts = make_facts("1234567")
    facts.table("history.notes", ["note", "number", "word", "flag"], ROWS, "Notes.", "")
    write(facts, tmp_path / "facts.json")
    lines = (tmp_path / "facts.json").read_text(encoding="utf-8").splitlines()
    for row in ROWS:
        assert [json.dumps(row, ensure_ascii=False)] == [one.strip(" ,") for one in lines if is_row(one, row)]
    assert [list(row) for row in read_facts(tmp_path / "facts.json").tables["history.notes"].rows] == ROWS


def is_row(line, row):
    """Return whether a line holds a row, and nothing else."""
    try:
        return json.loads(line.strip().removesuffix(",")) == row
    except json.JSONDecodeError:
        return False
