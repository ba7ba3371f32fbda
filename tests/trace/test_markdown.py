"""A trace in Markdown: what it says, and that no text of a stranger becomes markup."""

import re

import pytest

from llorch_core.trace.markdown import MOST_PROBLEMS, code, escape, markdown, summary
from tests.trace.traces import HOSTILE, hostile, problem, sound, whole


def test_a_document_has_totals_problems_and_every_rule():
    text = markdown(whole())
    assert text.startswith("# numpy with tiny does not conform: 1 of 8 rules fails.\n")
    assert "| mistakes caught | 1 of 4 |" in text
    assert "| elements compared | 168 of 170 |" in text
    assert "| lines of the engine run | 3 of 5 |" in text
    assert "### line without rule (7)\n\nNext: Write a scenario.\n" in text
    assert "- `norm.root` (`specs/norm.yaml:9`): so" in text
    assert "- `file.rows`: the real weights" in text
    for rule in whole()["rules"]:
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{rule['rule']}` ")]
        assert f"| {rule['status']} |" in row
    assert "| `norm.centred` | must Do as norm.centred says. | proved | 12 | 0.25 | 1 of 1 |" in text
    assert "| `norm.root` | must Do as norm.root says. | failed | 12 | ∞ | none |" in text


def test_problems_come_worst_first_and_what_was_not_run_is_none_of_them():
    found = re.findall(r"^### (.*)$", markdown(whole()), re.MULTILINE)
    assert found == ["error (1)", "failed (1)", "line without rule (7)"]


def test_every_table_has_as_many_cells_in_each_row():
    for trace in (whole(), sound(), hostile()):
        for table in re.findall(r"(?:^\|.*\n)+", markdown(trace), re.MULTILINE):
            cells = {len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}
            assert len(cells) == 1, table


def test_a_summary_is_short_and_names_what_is_wrong():
    trace = whole()
    trace["problems"] += [problem("line without rule", f"engine/{n}.py") for n in range(100)]
    text = summary(trace, ["a rule failed", "100 lines have no rule"])
    assert len(text.splitlines()) < 40
    assert "does not conform" in text
    assert "### Refused\n\n- a rule failed\n- 100 lines have no rule\n" in text
    assert "- **error** (1): Put it right.\n  - `model.laws` (`specs/norm.yaml:9`): so\n" in text
    assert "- **line without rule** (107)\n" in text
    assert text.count("\n  - ") == 5 <= MOST_PROBLEMS
    assert "Not run: `file.rows`." in text


def test_a_summary_of_what_is_sound_tells_no_problem():
    text = summary(sound())
    assert text.startswith("## numpy with tiny conforms: 1 of 2 rules are proved; 1 not run.\n")
    assert "problem" not in text
    assert "Refused" not in text


@pytest.mark.parametrize("tell", [markdown, lambda trace: summary(trace, [HOSTILE])])
def test_names_of_a_stranger_are_no_markup(tell):
    text = tell(hostile())
    assert "&lt;script&gt;" in text
    assert not re.search(r"<(script|img)", text)
    assert not re.search(r"(?<!\\)`\|", text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a | b", "a \\| b"),
        ("`code`", "\\`code\\`"),
        ("<b>&", "&lt;b&gt;&amp;"),
        ("two\nlines\r\n| x", "two lines \\| x"),
        ("[a](b)", "\\[a\\](b)"),
        ("\\|", "\\\\\\|"),
    ],
)
def test_text_is_escaped(text, wanted):
    assert escape(text) == wanted


def test_a_name_is_code_only_where_code_can_hold_it():
    assert code("layer_norm.centred") == "`layer_norm.centred`"
    assert code("a`b") == "a\\`b"
    assert code("a|b") == "a\\|b"
    assert code("a\nb") == "a b"
