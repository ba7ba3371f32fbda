"""The reports: every figure is measured, what is missing is said, and the page is whole, valid and closed."""

import base64
import hashlib
import io
import json
import re
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import html5lib
import pytest
from click.testing import CliRunner
from jsonschema import validate
from rich.console import Console

from llorch_core.cli.postmortem import command
from llorch_core.cli.postmortem_dig import print_facts
from llorch_core.postmortem.case import Settings, open_case
from llorch_core.postmortem.dig import JOINS, SECTIONS, nothing_yet
from llorch_core.postmortem.dig import write as write_facts
from llorch_core.postmortem.errors import PostmortemError
from llorch_core.postmortem.judgement.checked import Checked
from llorch_core.postmortem.judgement.evidence import Sources
from llorch_core.postmortem.judgement.judgement import Cause, Entry, Judgement, read_judgement
from llorch_core.postmortem.judgement.judgement import Place as At
from llorch_core.postmortem.report import bars, pictures, scatter, timeline
from llorch_core.postmortem.report.fill import fill, names
from llorch_core.postmortem.report.report import Report, documents, examined, report_on, write
from llorch_core.postmortem.report.sections import sections
from llorch_core.postmortem.report.sentences import HEADLINES, NUMBERS, SENTENCES, sentences
from llorch_core.postmortem.repository import Repository
from tests.postmortem.example import CASE, make_case, make_facts, make_repository
from tests.postmortem.findings import COMMIT, HOSTILE, figures, hostile, measured, nothing
from tests.trace.test_report import Page

SCHEMAS = Path(__file__).parents[2] / "specs" / "schema"
NAMES = {
    *("EXECUTIVE_SUMMARY.md", "PHASE_1_ARCHAEOLOGY.md", "PHASE_2_TEAMS.md", "PHASE_3_BUGS.md"),
    *("PHASE_4_DECISIONS.md", "PHASE_5_POSTMORTEM.md", "report.html"),
}
NOBODY = Sources(None, None)


def judged(facts, folder=CASE):
    """A report on the worked example, whose evidence nobody could open."""
    judgement = read_judgement(folder)
    return Report("the till", facts, judgement, examined(judgement, NOBODY))


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Reports by name: judged, of nothing, of names that are no names, and of a case that can be opened."""
    empty = tmp_path_factory.mktemp("empty")
    case, _ = make_case(tmp_path_factory.mktemp("case"))
    return {
        "whole": judged(measured()),
        "nothing": judged(nothing(), empty),
        "hostile": Report(HOSTILE, hostile(), bad_judgement(), Checked()),
        "opened": report_on(open_case(case)),
    }


def bad_judgement():
    """A judgement in which every text of every entry tries to be something else."""
    found = read_judgement(CASE)
    for kind, entries in found.entries.items():
        found.entries[kind] = tuple(spoiled(entry) for entry in entries)
    return found


def spoiled(one):
    """The same entry, or part of one, with other texts; ids stay, for links lead to them."""
    kept = {"id", "findings", "guardrails", "explains", "teams", "digest", "outcome", "date"}
    values = {}
    for name, value in vars(one).items():
        values[name] = value if name in kept else other(value)
    return type(one)(**values)


def other(value):
    """A value in which every text is another one."""
    if isinstance(value, tuple):
        return tuple(other(one) if isinstance(one, str | int) else spoiled(one) for one in value)
    return HOSTILE if isinstance(value, str) and value else value


@pytest.fixture(scope="module")
def made(reports):
    """The documents of every report."""
    return {name: documents(report) for name, report in reports.items()}


@pytest.fixture(params=["whole", "nothing", "hostile", "opened"])
def page(request, made):
    """The page of each report: its text, and what a reader of it sees."""
    text = made[request.param]["report.html"]
    return text, Page(text)


def section(text, title):
    """Return the part of a document in Markdown under a heading of the second level."""
    return text.split(f"\n## {title}")[1].split("\n## ")[0]


# Every document


def test_there_are_five_phases_a_summary_and_a_page(made):
    for found in made.values():
        assert set(found) == NAMES
        assert all(text.endswith("\n") and not text.endswith("\n\n") for text in found.values())


def test_the_same_input_gives_the_same_bytes(reports, made, tmp_path):
    again = documents(judged(measured()))
    assert again == made["whole"]
    paths = write(reports["whole"], tmp_path / "new" / "folder")
    assert {path.name: path.read_text(encoding="utf-8") for path in paths} == again
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} == NAMES


def test_the_date_is_that_of_the_facts(made):
    for text in made["whole"].values():
        assert "measured on 9 March 2024; every date is in the time zone UTC" in text
        assert "20 2" not in text.replace("of 20 2", "")


def test_a_folder_that_cannot_be_written_is_refused_in_words(reports, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PostmortemError, match="wanted a folder for the reports"):
        write(reports["nothing"], tmp_path / "file")


def test_the_command_writes_beside_the_case_or_where_it_is_told(tmp_path):
    case, _ = make_case(tmp_path)
    told = CliRunner().invoke(command, ["report", "--case", str(case)], standalone_mode=False)
    assert {Path(line) for line in told.output.splitlines()} == {case / "report" / name for name in NAMES}
    asked = ["report", "--case", str(case), "-o", str(tmp_path / "there")]
    CliRunner().invoke(command, asked, standalone_mode=False, catch_exceptions=False)
    for name in NAMES:
        assert (tmp_path / "there" / name).read_bytes() == (case / "report" / name).read_bytes()


def test_a_case_without_facts_is_refused(tmp_path):
    case, _ = make_case(tmp_path)
    (case / "facts.json").unlink()
    with pytest.raises(PostmortemError, match="Run `llorch postmortem dig` first"):
        report_on(open_case(case))


# Figures


def test_a_text_is_filled_with_figures_and_the_noun_agrees():
    facts = figures(history_commits=(1392, "commits"), history_authors=(1, "authors"))
    text = "{history.commits} commits by {history.authors} authors; {history.authors} of them authors"
    assert fill(text, facts) == "1,392 commits by 1 author; 1 of them authors"
    assert fill("{tests.gone} tests", facts) == "(tests.gone was not measured) tests"
    assert fill("braces {} {x} stay", facts) == "braces {} {x} stay"


def test_where_there_is_nothing_one_short_sentence_says_so():
    facts = figures(claims_made=(0, "claims"))
    assert sentences("claims", facts) == ["{claims.made} claims of success."]
    assert sentences("tests", facts)[0].startswith("Not measured: tests.tests, tests.files, ")


@pytest.mark.parametrize(
    ("value", "unit", "told"),
    [
        (23.684, "percent", "23.68 %"),
        (34.5, "per cent", "34.5 %"),
        (0.6, "days", "0.6"),
        (7.0, "days", "7"),
        (0.0012, "days", "0.0012"),
        (0, "tests", "0"),
        (None, "date", "none"),
        ("2025-10-05T19:49:00+02:00", "time", "5 Oct 2025, 19:49"),
        ("2025-10-05", "date", "5 Oct 2025"),
        (COMMIT, "commit", "0123456789ab"),
        ("src/a.py", "file", "src/a.py"),
        (True, "answer", "yes"),
    ],
)
def test_a_figure_is_written_as_people_write_it(value, unit, told):
    assert fill("{a.b}", figures(a_b=(value, unit))) == told


def test_phase_1_shows_every_figure_with_definition_and_command(made):
    text = made["whole"]["PHASE_1_ARCHAEOLOGY.md"]
    assert "| `history.commits` | 18 | commits | Counts what a test of the report counts. It is" in text
    assert "# history.commits\necho '18' | cat\n" in text
    assert "# table history.days\ngit log" in text
    assert "| `tests.share` | 23.68 % | percent |" in text


def test_phase_1_shows_tables_and_says_how_many_rows_are_elsewhere(made):
    text = section(made["whole"]["PHASE_1_ARCHAEOLOGY.md"], "Claims")
    assert "| 8 Mar 2024, 12:00 | Bob | document | D.md | 3 | FIXED | FIXED 0 |" in text
    assert text.count("| 8 Mar 2024, 12:00 |") == 20
    assert "and 20 more rows in facts.json." in text
    assert (
        "| tests/test\\_total.py | 1234 |" in made["whole"]["PHASE_1_ARCHAEOLOGY.md"]
    )  # a line is no amount
    assert "| 75 % |" in made["whole"]["PHASE_1_ARCHAEOLOGY.md"]  # a share is one of all


def test_what_was_not_measured_is_said(made):
    text = made["whole"]["PHASE_1_ARCHAEOLOGY.md"]
    assert "Not measured: hours, bursts, left behind, survival." in section(text, "History")
    assert "Nothing of this was measured. It would be: ids, unknown, lost." in section(text, "Requirements")
    assert "### Fixes" in text
    assert "None." in text.split("### Fixes")[1].split("###")[0]
    for name in ("Structure", "Documents", "Tests", "Claims"):
        assert "Nothing of this was measured" in section(made["nothing"]["PHASE_1_ARCHAEOLOGY.md"], name)
    (line,) = [one for one in made["whole"]["EXECUTIVE_SUMMARY.md"].splitlines() if "history.last" in one]
    assert line.startswith("- Not measured: ")


def test_a_section_that_nobody_expected_is_shown_all_the_same():
    facts = figures(weather_rain=(3, "days"))
    facts.table("weather.days", ["day"], [["2024-03-04"]], "Days of rain.", "cat rain")
    (last,) = [one for one in sections(facts) if one.name == "weather"]
    assert (last.title, [name for name, _ in last.figures]) == ("Weather", ["weather.rain"])
    assert "## Weather" in documents(Report("x", facts, Judgement(CASE), Checked()))["PHASE_1_ARCHAEOLOGY.md"]


def test_every_figure_that_a_sentence_names_is_measured_and_every_table_that_is_expected(tmp_path):
    """By a dig of the worked example, section by section."""
    make_repository(tmp_path / "repository")
    repository, settings = Repository(tmp_path / "repository"), Settings("the till", "repository")
    facts = nothing_yet(repository)
    for name in SECTIONS:
        import_module(f"llorch_core.postmortem.{name}.{name}").measure(repository, settings, facts)
    for name in JOINS:
        import_module(f"llorch_core.postmortem.history.{name}").join(repository, settings, facts)
    schema = json.loads((SCHEMAS / "facts.schema.json").read_text(encoding="utf-8"))
    validate(json.loads(json.dumps(facts.as_json())), schema)
    told = [*HEADLINES, *(one for some in SENTENCES.values() for one in some)]
    assert {name for one in told for name in names(one)} | {
        name for name, _ in NUMBERS
    } <= facts.figures.keys()
    assert [one.missing for one in sections(facts)] == [[]] * 6
    out = Console(width=120, file=io.StringIO())
    print_facts(facts, tmp_path / "facts.json", out)
    told = out.file.getvalue()
    assert "4 commits by 2 authors in 0.1 days, from 4 Mar 2024, 10:00 to 4 Mar 2024, 13:00" in told
    assert "█  commits of each day that has some" in told
    assert f"{len(facts.figures)} figures and {len(facts.tables)} tables are in " in told


def test_figures_of_a_judgement_are_filled_in_and_said_how_they_were_measured(made):
    text = made["whole"]["PHASE_3_BUGS.md"]
    assert "Every bill was too low, for 2 of 18 commits." in text
    assert "# history.commits\necho '18' | cat\n" in section(text, "How this was measured")
    page = made["whole"]["report.html"]
    assert 'for 2 of <a class="fig" href="#figure-history.commits">18</a> commits.' in page
    assert (
        "for 2 of (history.commits was not measured) commits"
        in documents(judged(nothing()))["PHASE_3_BUGS.md"]
    )


# Judgement


def test_every_entry_of_the_judgement_is_told_in_its_phase_and_on_the_page(reports, made):
    homes = {
        **{"teams": "PHASE_2_TEAMS.md", "bugs": "PHASE_3_BUGS.md", "assumptions": "PHASE_3_BUGS.md"},
        **{"decisions": "PHASE_4_DECISIONS.md", "process": "PHASE_4_DECISIONS.md"},
    }
    told = 0
    for kind, entries in reports["whole"].judgement.entries.items():
        for entry in entries:
            assert f"### {entry.title}\n" in made["whole"][homes.get(kind, "PHASE_5_POSTMORTEM.md")]
            assert f'id="entry-{entry.id}"' in made["whole"]["report.html"]
            told += 1
    assert told == 16


def test_a_team_is_told_with_its_commits_claims_and_outcomes(made):
    text = made["opened"]["PHASE_2_TEAMS.md"]
    assert "- Bob Roe: 1 commit\n" in text
    assert (
        '- 4 Mar 2024: Bob wrote that the sum was repaired, and that "all tests pass". **withdrawn.**' in text
    )
    assert "  - `commit HEAD~2` “all tests pass”\n" in text
    assert "  - `docs/VICTORY.md:1 at HEAD~2` “FIXED: the sum is right”\n" in text


def test_the_five_questions_are_asked_and_what_was_not_answered_is_said(made, tmp_path):
    (tmp_path / "bugs.yaml").write_text("bugs:\n  - {id: lost, title: Lost, what: It was lost.}\n")
    text = documents(judged(measured(), tmp_path))
    for question in ("Why", "What it cost", "What should have happened", "What changes"):
        assert f"- *{question}.* *Not judged.*\n" in text["PHASE_3_BUGS.md"]
    assert "- *What happened.* It was lost.\n" in text["PHASE_3_BUGS.md"]
    assert "- **No evidence is given.**" in text["PHASE_3_BUGS.md"]
    assert "no evidence" in Page(text["report.html"]).text("entry-lost")
    assert "Without evidence: 1 finding." in text["EXECUTIVE_SUMMARY.md"]


def test_evidence_that_was_not_opened_or_does_not_show_it_is_marked(made, tmp_path):
    text = made["whole"]["PHASE_3_BUGS.md"]
    assert text.count("**(not opened: the repository is not on this machine)**") == 4
    bug = Page(made["whole"]["report.html"]).text("entry-cents_cut_off")
    assert "2 of 2 pieces of evidence not opened" in bug
    assert bug.count("not opened: the repository is not on this machine") == 2
    case, _ = make_case(tmp_path)
    file = case / "bugs.yaml"
    file.write_text(file.read_text().replace("return round(sum(prices), 2)", "return nothing"))
    report = report_on(open_case(case))
    text = documents(report)["PHASE_3_BUGS.md"]
    assert text.count("not opened") == 0
    assert text.count("**(not there: till/total.py at") == 1
    bug = report.judgement.find("cents_cut_off")
    assert report.doubts(bug) == "1 of 2 pieces of evidence not there"


def test_facts_of_another_commit_are_told_on_top_of_every_document(made, tmp_path):
    case, hashes = make_case(tmp_path)
    write_facts(make_facts(hashes[2]), case / "facts.json")
    for name, text in documents(report_on(open_case(case))).items():
        assert "stale: the facts were measured at another commit" in text, name
        assert hashes[2][:12] in text
        assert "stale: the facts" not in made["opened"][name]


def test_what_was_opened_has_no_mark(reports, made):
    assert not [
        entry for entry in reports["opened"].judgement if reports["opened"].doubts(entry) and entry.references
    ]
    for name in NAMES:
        assert "not opened" not in made["opened"][name], name


def test_what_was_ruled_out_is_open_again_when_its_file_has_changed(made, tmp_path):
    assert "`not_the_readme`: holds" in made["opened"]["PHASE_5_POSTMORTEM.md"]
    assert "nobody looked whether it still holds" in made["whole"]["PHASE_5_POSTMORTEM.md"]
    case, _ = make_case(tmp_path)
    file = case / "ruled_out.yaml"
    file.write_text(file.read_text().replace("163fb4d25418ac9fe86a2c9416f9a5c5a86a3fef", "0" * 40))
    text = documents(report_on(open_case(case)))
    assert "`not_the_readme`: open again" in text["PHASE_5_POSTMORTEM.md"]
    assert "Ruled out: 1; open again: 1." in text["EXECUTIVE_SUMMARY.md"]


def test_a_causal_chain_is_told_step_by_step_with_links_to_its_findings(made):
    text = section(made["whole"]["PHASE_5_POSTMORTEM.md"], "Causal chains")
    assert (
        "\n2. So a repair could not be told from a fault. (A repair began without a test that fails)\n"
        in text
    )
    assert "\n3. " in text
    page = made["whole"]["report.html"]
    assert (
        '<a href="#entry-repair_without_a_failing_test">A repair began without a test that fails</a>' in page
    )
    assert page.count('class="arrow"') == 2


def test_a_root_cause_without_a_guardrail_and_a_finding_that_is_none_are_said(tmp_path):
    cause = "causes:\n  - {id: a_cause, title: A cause, what: So., explains: [nothing_known]}\n"
    (tmp_path / "causes.yaml").write_text(cause)
    text = documents(judged(measured(), tmp_path))
    assert "- *Guarded by* **nothing**\n" in text["PHASE_5_POSTMORTEM.md"]
    assert "- *Explains* `nothing_known`\n" in text["PHASE_5_POSTMORTEM.md"]
    assert "no guardrail" in Page(text["report.html"]).text()


def test_what_was_not_judged_is_said(made):
    for name, count in (("2_TEAMS", 1), ("3_BUGS", 2), ("4_DECISIONS", 2), ("5_POSTMORTEM", 5)):
        assert made["nothing"][f"PHASE_{name}.md"].count("*Not judged.*") == count
    text = made["nothing"]["EXECUTIVE_SUMMARY.md"]
    assert "- Not judged: teams, bugs, assumptions, decisions, process, chains, causes, lessons," in text
    assert Page(made["nothing"]["report.html"]).text().count("not judged") == 12


# The summary


@pytest.mark.untraced
def test_the_summary_fits_two_pages_whatever_there_is():
    """Two pages hold about 900 words: a hundred root causes, each with a long story, stay below."""
    found = read_judgement(CASE)
    story = " ".join(["word"] * 200)
    for kind, entries in found.entries.items():
        found.entries[kind] = tuple(long(entry, story, n) for n in range(100) for entry in entries)
    text = documents(Report("the till", measured(), found, examined(found, NOBODY)))["EXECUTIVE_SUMMARY.md"]
    assert len(text.split()) < 900
    assert "and 95 more: `PHASE_5_POSTMORTEM.md`." in text


def long(entry: Entry, story, n):
    """An entry with long texts."""
    values = {
        name: story if name in ("title", "what", "statement") else value
        for name, value in vars(entry).items()
    }
    if isinstance(entry, Cause):
        values["rank"] = n + 1
    return type(entry)(**values)


def test_the_summary_says_what_was_measured_why_and_what_changes(made):
    text = made["opened"]["EXECUTIVE_SUMMARY.md"]
    assert "1. **The tests could not fail.** The only test of the till has an empty body.\n" in text
    assert "2 bugs: 1 confirmed, 1 false lead." in text
    assert "- The till cuts the cents off every price (critical, confirmed)\n" in text
    assert "- A test without a statement is refused\n" in text
    assert "What was taken for granted: 1 wrong, 1 right." in text


# The page


def test_a_page_is_valid_html(page):
    html5lib.HTMLParser(strict=True).parse(page[0])


def test_ids_are_there_once_and_every_reference_resolves(page):
    ids = page[1].all("id")
    assert len(ids) == len(set(ids))
    assert not [id for id in ids if not id or re.search(r"\s", id)]
    for link in page[1].all("href"):
        assert link.startswith("#")
        assert unquote(link[1:]) in ids, link
    for value in page[1].all("aria-labelledby"):
        assert set(value.split()) <= set(ids)


def test_nothing_is_loaded_and_nothing_runs(page):
    text, read = page
    tags = {tag for tag, _ in read.elements}
    assert not {"script", "link", "iframe", "object", "embed", "base", "img", "image", "audio", "form"} & tags
    assert not [key for _, attributes in read.elements for key in attributes if key.startswith("on")]
    assert not read.all("src") and not read.all("style") and not read.all("srcset")
    assert not re.search(r"url\(|@import|javascript:", text)
    (policy,) = [a["content"] for _, a in read.elements if a.get("http-equiv") == "Content-Security-Policy"]
    (inside,) = re.findall("<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_a_page_can_be_read_by_everyone(page):
    text, read = page
    assert text.startswith("<!doctype html>")
    assert ("html", {"lang": "en"}) in read.elements
    tags = [tag for tag, _ in read.elements]
    assert tags.count("main") == tags.count("h1") == 1
    assert {"header", "nav", "footer"} <= set(tags)
    assert read.headings[0] == 1
    assert all(b <= a + 1 for a, b in pairwise(read.headings))
    for word in ("prefers-color-scheme: dark", "@media print", ":focus-visible", 'name="viewport"'):
        assert word in text
    for tag, attributes in read.elements:
        if tag == "svg":
            assert "aria-hidden" in attributes or (attributes["role"] == "img" and attributes["aria-label"])
        if tag == "th":
            assert attributes["scope"] == "col"
        if attributes.get("tabindex") == "0":
            assert attributes["aria-label"]
            assert attributes["role"] == "group"
    (skip,) = [a for _, a in read.elements if a.get("class") == "skip"]
    assert skip["href"] == "#timeline"


def test_every_figure_leads_to_its_definition_and_command(made):
    page = Page(made["whole"]["report.html"])
    assert page.text("figure-history.commits").startswith("18 commits history.commits Counts what")
    assert "echo '18' | cat" in page.text("figure-history.commits")
    assert "23.68 % tests.share" in page.text("figure-tests.share")
    assert 'href="#figure-history.commits">18</a>' in made["whole"]["report.html"]


def test_names_of_a_stranger_are_text(made):
    for name, text in made["hostile"].items():
        if name == "report.html":
            page = Page(text)
            assert not {"script", "img"} & {tag for tag, _ in page.elements}
            assert page.texts[None].count(HOSTILE) > 50
        else:
            prose = re.sub(r"^ *(`{3,})sh\n.*?^ *\1$", "", text, flags=re.DOTALL | re.MULTILINE)
            prose = re.sub("`[^`\n]+`", "", prose)  # code shows what it is
            assert "<script" not in prose
            assert "<img" not in prose
            assert "](" not in prose.replace("\\](", "")
    assert made["hostile"]["PHASE_3_BUGS.md"].count("\\*a\\*") > 10


# Pictures


def test_columns_stand_where_their_days_are_and_are_as_high_as_their_commits():
    """5, 1 and 12 commits on the 4th, 5th and 8th of March."""
    facts = measured()
    along = timeline.axis(facts)
    found = timeline.commits(facts, along)
    assert found.each == "day"
    assert [c.title for c in found.columns] == [
        *("4 March 2024: 5 commits", "5 March 2024: 1 commit", "8 March 2024: 12 commits"),
    ]
    assert [round(c.height / timeline.HIGH, 2) for c in found.columns] == [0.42, 0.08, 1.0]
    middles = [c.x + c.width / 2 for c in found.columns]
    day = (timeline.WIDE - timeline.LEFT - timeline.RIGHT) / 5
    assert middles == pytest.approx([timeline.LEFT + day * n for n in (0.5, 1.5, 4.5)], abs=0.1)
    assert [name for _, name in found.grid] == ["0", "5", "10"]
    assert [name for _, name in along.ticks()] == [f"{n} Mar" for n in range(4, 10)]


@pytest.mark.parametrize(
    ("last", "each", "columns", "first"),
    [
        ("2024-06-30", "day", 2, "6 March 2024: 3 commits"),
        ("2025-06-30", "week", 2, "the week from 4 March 2024: 3 commits"),
        ("2034-06-30", "month", 2, "March 2024: 3 commits"),
    ],
)
def test_a_long_history_is_told_by_week_or_month(last, each, columns, first):
    facts = figures()
    facts.table("history.days", ["day", "commits"], [["2024-03-06", 3], [last, 1]], "", "")
    along = timeline.axis(facts)
    found = timeline.commits(facts, along)
    assert (found.each, len(found.columns), found.columns[0].title) == (each, columns, first)
    ticks = along.ticks()
    assert 3 <= len(ticks) <= 12
    assert all(timeline.LEFT <= x <= timeline.WIDE for x, _ in ticks)


def test_a_timeline_has_a_lane_for_each_kind_and_crowded_ones_are_columns(reports):
    found = pictures.timeline(reports["whole"])
    lanes = {lane.name: lane for lane in found.lanes}
    assert list(lanes) == ["ends and tags", "claims", "withdrawn", "reverts", "decisions"]
    assert lanes["claims"].dense
    assert (lanes["claims"].total, len(lanes["claims"].marks)) == (36, 1)
    assert lanes["claims"].marks[0].title.startswith("36, the first: 8 Mar 2024, 12:00: FIXED")
    assert not lanes["withdrawn"].dense
    first, tag = lanes["ends and tags"].marks
    assert (first.title, tag.title) == ("4 Mar 2024, 09:00: first: Begin", "8 Mar 2024, 17:30: tag: v1")
    hour = (timeline.WIDE - timeline.LEFT - timeline.RIGHT) / (5 * 24)  # five days, from midnight on
    places = [timeline.LEFT + hour * 9, timeline.LEFT + hour * (4 * 24 + 17.5)]
    assert [first.x, tag.x] == pytest.approx(places, abs=0.01)
    assert pictures.timeline(reports["nothing"]) is None


def test_hot_spots_are_up_and_to_the_right_and_what_has_no_complexity_is_not_drawn():
    found = scatter.hot_spots(measured())
    hottest = found.spots[-1]
    assert hottest.title == "till/total.py: 9 commits, 120 lines added or deleted, complexity 40"
    assert len(found.spots) == 3
    assert all(hottest.x > s.x and hottest.y < s.y and hottest.radius > s.radius for s in found.spots[:-1])
    assert [label.text for label in found.labels] == ["total.py", "print.py", "b.py"]
    assert scatter.hot_spots(nothing()) is None


def test_labels_do_not_cover_one_another():
    rows = [[f"folder/a_rather_long_name_{n}.py", 5, 100 + n, 50 - n, 1] for n in range(9)]
    facts = figures()
    facts.table("history.hot_spots", ["file", "commits", "churn", "complexity", "score"], rows, "", "")
    found = scatter.hot_spots(facts)
    boxes = [
        (label.x - wide * shift, label.y - 10, label.x + wide * (1 - shift), label.y + 3)
        for label in found.labels
        for wide in (scatter.LETTER * len(label.text),)
        for shift in ({"start": 0, "end": 1, "middle": 0.5}[label.anchor],)
    ]
    assert boxes
    for n, a in enumerate(boxes):
        assert not any(scatter.overlap(a, b) for b in boxes[n + 1 :])


def test_a_bar_is_as_long_as_its_numbers_say():
    found = bars.tests(measured())
    assert [(row.name, row.numbers[:2]) for row in found.rows] == [
        ("pytest, unit", (30, 9)),
        ("gtest", (8, 0)),
    ]
    assert [(p.kind, p.width) for p in found.rows[0].parts] == [("k-good", 70.0), ("k-bad", 30.0)]
    assert [(p.kind, p.width) for p in found.rows[1].parts] == [("k-good", 26.67)]
    written = bars.languages(measured())
    assert [row.name for row in written.rows] == ["Markdown", "Python"]
    assert [p.kind for p in written.rows[0].parts] == ["k-comment", "k-blank"]


def test_claims_are_held_against_what_became_of_them(reports):
    """Of 10, 4 were withdrawn; a fix followed 6, of which the table of claims names none without a word."""
    found = bars.claims(measured())
    assert [(row.name, row.numbers) for row in found.rows] == [("FIXED", (10, 6, 4)), ("COMPLETE", (3, 0, 0))]
    assert [(p.kind, p.width) for p in found.rows[0].parts] == [("k-plain", 60.0), ("k-bad", 40.0)]
    (team,) = pictures.outcomes(reports["whole"].judgement).rows
    assert team.numbers == (1, 0, 0, 1, 0)
    assert pictures.outcomes(reports["nothing"].judgement) is None


def test_a_place_of_evidence_tells_what_to_look_up():
    from llorch_core.postmortem.judgement.judgement import Reference
    from llorch_core.postmortem.report.report import place

    at = At("bugs.yaml", 1)
    assert place(Reference(at, path="a.py", line=3, text="x")) == "a.py:3"
    assert (
        place(Reference(at, commit=COMMIT, path="a.py", lines=(3, 5), text="x")) == "a.py:3–5 at 0123456789ab"
    )
    assert place(Reference(at, commit=COMMIT, subject="x")) == "commit 0123456789ab"
    assert place(Reference(at, figure="a.b")) == "figure a.b"
    assert place(Reference(at, table="a.b", where={"kind": "empty"})) == "table a.b, where kind is empty"
    assert place(Reference(at, path="src", absent="x+")) == "no line below src matches x+"
