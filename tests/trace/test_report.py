"""The report: whole, valid, self-contained, escaped; every link of it leads somewhere."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from itertools import pairwise
from urllib.parse import unquote

import html5lib
import jsonschema
import pytest

from llorch_core.trace import words
from llorch_core.trace.report import report
from llorch_core.trace.report_parts import Anchors, Code, groups, home, not_run
from tests.trace.traces import FEATURE, HOSTILE, LAYERS, SCHEMA, comparison, hostile, rule, sound, whole

VOID = {"meta", "br", "img", "link", "hr", "input"}
TRACES = {"whole": whole, "sound": sound, "hostile": hostile}


class Page(HTMLParser):
    """Checks that every tag is closed in order; keeps elements, their attributes and text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts, self.headings = [], [], {}, []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        assert len(attributes) == len(attrs), f"an attribute of {tag} is there twice"
        self.elements.append((tag, attributes))
        if tag not in VOID:
            self.open.append((tag, attributes.get("id")))
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        tags = [tag for tag, _ in self.open]
        if "style" in tags or "script" in tags:
            return
        for key in {id for _, id in self.open if id} | {None}:
            self.texts[key] = self.texts.get(key, "") + data

    def text(self, id=None):
        return " ".join(self.texts[id].split())

    def all(self, key):
        return [attributes[key] for _, attributes in self.elements if key in attributes]


@pytest.fixture(params=TRACES)
def made(request):
    trace = TRACES[request.param]()
    text = report(trace)
    return trace, text, Page(text)


def test_the_traces_of_these_tests_are_traces():
    for make in TRACES.values():
        jsonschema.validate(make(), SCHEMA)


def test_a_report_is_valid_html(made):
    html5lib.HTMLParser(strict=True).parse(made[1])


def test_ids_are_there_once_and_every_reference_resolves(made):
    _, _, page = made
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    assert not [id for id in ids if not id or re.search(r"\s", id)]
    links = page.all("href")
    assert len(links) > 30
    for link in links:
        assert link.startswith("#")
        assert unquote(link[1:]) in ids, link
    for key in ("aria-labelledby", "for", "data-rule"):
        for value in page.all(key):
            assert set(value.split()) <= set(ids)
    for value in page.all("data-rules"):
        assert set(value.split()) <= set(ids)


def test_nothing_is_loaded_and_the_policy_allows_only_what_is_in_the_page(made):
    _, text, page = made
    tags = {tag for tag, _ in page.elements}
    assert not {"link", "iframe", "object", "embed", "base", "img", "image", "audio", "video"} & tags
    assert not re.search(r"url\(|@import|javascript:", text)
    assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on")]
    assert not page.all("src") and not page.all("style") and not page.all("srcset")
    assert "http" not in re.sub(re.escape("http-equiv") + "|" + re.escape("http://evil.example"), "", text)
    (policy,) = [a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for kind in ("script", "style"):
        (inside,) = re.findall(f"<{kind}>(.*?)</{kind}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_a_report_can_be_read_by_everyone(made):
    _, text, page = made
    assert text.startswith("<!doctype html>")
    assert ("html", {"lang": "en"}) in page.elements
    tags = [tag for tag, _ in page.elements]
    assert tags.count("main") == tags.count("h1") == 1
    assert {"header", "nav", "footer"} <= set(tags)
    assert page.headings[0] == 1
    assert all(b <= a + 1 for a, b in pairwise(page.headings))
    for word in ("prefers-color-scheme: dark", "@media print", ":focus-visible", 'name="viewport"'):
        assert word in text
    for tag, attributes in page.elements:
        if tag == "svg":
            assert "aria-hidden" in attributes or ("role" in attributes and attributes["aria-label"])
        if tag == "th":
            assert attributes["scope"] == "col"
        if tag == "input":
            assert attributes.get("id") in page.all("for") or attributes["type"] == "checkbox"
        if attributes.get("tabindex") == "0" and tag != "pre":
            assert attributes.get("aria-label") or attributes.get("aria-labelledby")
    (skip,) = [a for _, a in page.elements if a.get("class") == "skip"]
    assert skip["href"] == "#rules"


def test_the_controls_are_hidden_until_the_script_runs_and_nothing_else_is(made):
    _, _, page = made
    hidden = [(tag, a.get("id")) for tag, a in page.elements if "hidden" in a and tag != "svg"]
    assert hidden == [("form", "filter"), ("button", "clear"), ("p", "nothing")]


# What it says


def test_the_first_sentence_is_honest():
    assert words.headline(sound()) == "numpy with tiny conforms: 1 of 2 rules are proved; 1 not run."
    assert words.headline(whole()) == "numpy with tiny does not conform: 1 of 8 rules fails."
    assert (words.mood(sound()), words.mood(whole())) == ("good", "bad")
    for status in ("passed", "stub", "stale", "untested", "orphaned"):
        trace = sound()
        trace["totals"]["statuses"] = {"proved": 1, status: 1}
        text = f"numpy with tiny conforms as far as it is known: 1 of 2 rules proved; 1 {status}."
        assert words.headline(trace) == text
        assert words.mood(trace) == "unsure"
    trace["totals"]["statuses"] = {"proved": 1, "error": 1}
    assert "nothing can be concluded" in words.headline(trace)
    trace["totals"] |= {"rules": 0, "statuses": {}}
    assert "nothing is known" in words.headline(trace)
    assert words.mood(trace) == "unsure"


def test_the_commit_is_told_and_whether_it_was_changed():
    assert "at commit eeeeeeeeeeee with changes that are not committed, on 27 November 2026, 23:18 UTC" in (
        Page(report(whole())).text()
    )
    assert "at commit eeeeeeeeeeee, on" in words.facts(sound())
    assert "in 5 min 12 s" in words.facts(sound())
    trace = sound()
    trace["made"] |= {"commit": None, "dirty": None, "at": "yesterday", "seconds": 0.2}
    assert words.facts(trace).endswith("at no commit, on yesterday, in 0.2 s.")


def test_a_rule_shows_all_that_stands_behind_it():
    text = Page(report(whole())).text("rule-norm.centred")
    for part in (
        *("norm.centred", "proved", "must Do as norm.centred says.", "12 of 12", "0.25 of its tolerance"),
        *("h.0.ln_1", "1 of 1", "Scenario of line 3", "wrong caught, 188 tolerances away at h.0.ln_1"),
        *("Ran 2 statements of the engine", "layers.py (2): 4–5", "Ba et al. 2016, equation 3"),
    ):
        assert part in text


def test_rules_without_evidence_are_as_visible_as_the_others():
    text = report(whole())
    page = Page(text)
    cards = {a["id"]: a for tag, a in page.elements if tag == "article"}
    assert len(cards) == len(whole()["rules"])
    for entry in whole()["rules"]:
        id = f"rule-{entry['rule']}"
        assert cards[id]["data-status"] == entry["status"]
        assert entry["status"] in page.text(id)
        assert entry["why"] in page.text(id)
        assert f'<tr data-rule="{id}">' in text
    assert "nothing compared" in page.text("rule-file.lost")
    assert "Its scenario was lost in dddddddddddd, 2026-01-02, “Tidy up”, from features/old.feature" in (
        page.text("rule-file.lost")
    )
    assert "file.skips" not in page.text("rule-file.read")  # the component's name is not said twice
    assert "skips missed" in page.text("rule-file.read")
    assert "late not tried" in page.text("rule-file.read")
    assert "A scenario has this tag, and no spec has this rule." in page.text("rule-nobody.knows")
    assert "nobody.knows" in page.text("of-no-component")
    assert "features/gone.feature:1" in page.text("rule-norm.stale")


def test_a_component_shows_its_mathematics_its_window_and_its_errors():
    text = report(whole())
    page = Page(text)
    shown = page.text("component-norm")
    for part in (
        *("The norm", "Does it.", "[T, n_embd]", "config.layer_norm_epsilon", "One mean and one root."),
        *("out = (x - centre) / sqrt(mean(x**2) + epsilon)", "In the model it is h.N.ln_1, ln_f."),
        *("nearest mistake 35.5", "h.N.ln_1at most 3", "1 mistake that people make here", "too small"),
        *("Hidden by rounding in float16.", "Seen in a/b#1."),
    ):
        assert part in shown
    assert "<msqrt>" in text
    assert text.count("<math") == 2 + 2 + 2
    assert 'order["a", "b"]of reading' in page.text("component-file")
    assert "rows3" in page.text("component-file")
    assert 'h.N.q: {"x": "h.N.in"}' in page.text("component-model")


def test_a_scenario_shows_its_text_and_every_comparison():
    page = Page(report(whole()))
    shown = page.text(f"scenario-{FEATURE}:40")
    assert "When norm is given x = [1, 3] Then it returns" in shown
    assert "h.N.ln_1, 9 comparisons, 108 elements, worst 0.1 of its tolerance" in shown
    assert "got [2], wanted [3]" in shown
    for layer in range(3):
        assert shown.count(f"h.{layer}.ln_1") == 3
    wrong = page.text(f"scenario-{FEATURE}:12")
    assert "failed" in wrong
    assert "∞" in wrong
    assert "NaN" in wrong
    assert "the real weights" in page.text(f"scenario-{FEATURE}:30")
    assert page.text(f"evidence-{FEATURE}:30") == "It left no evidence."


def test_code_shows_what_ran_it_and_what_did_not():
    text = report(whole())
    page = Page(text)
    assert page.text("line-layers.py:4") == "24 x = x - 1"
    assert page.text("line-layers.py:7").startswith("none")
    assert page.text("line-layers.py:1").startswith("import")
    assert page.text("ran-1") == "2 rules: norm.centred, model.laws"
    assert page.text("ran-2") == "4 rules: all of norm"
    assert "3 of 5 statements run by a rule, 1 by the import, 1 by none" in page.text(f"code-{LAYERS}")
    assert 'id="line-layers.py:3"' not in text


def test_problems_are_told_with_what_to_do_and_not_run_is_named():
    text = Page(report(whole())).text()
    assert "9 problems, worst first" in text
    assert text.index("error 1 Put it right. model.laws") < text.index("failed 1 Look at the root. norm.root")
    assert "and 2 more" in text
    assert "not run file.rowsneeds the real weights Bring the weights." in text
    assert "problem" not in Page(report(sound())).text().replace("problems, worst first", "!")


def test_the_smallest_margins_come_first_and_what_is_exact_has_none():
    found = words.nearest(whole())
    assert [entry["rule"] for entry in found] == ["norm.root", "norm.centred", "model.laws"]
    assert [words.short(words.worst(entry)) for entry in found] == ["∞", "0.25", "0.125"]


def test_names_of_a_stranger_are_text():
    page = Page(report(hostile()))
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 1
    assert "img" not in tags
    assert page.texts[None].count(HOSTILE) > 100


def test_a_trace_without_anything_is_a_page_too():
    trace = whole()
    for key in ("components", "rules", "scenarios", "code", "problems"):
        trace[key] = []
    trace["totals"] |= {"rules": 0, "statuses": {}, "lines": None, "lines_run": None}
    jsonschema.validate(trace, SCHEMA)
    text = report(trace)
    html5lib.HTMLParser(strict=True).parse(text)
    assert "there is no rule, and nothing is known" in Page(text).text()
    assert "lines of the engine" not in Page(text).text()


@pytest.mark.untraced
def test_a_large_trace_stays_small():
    trace = whole()
    evidence = [comparison(f"h.{n % 12}.attn.scores", 0.1, n // 12) for n in range(3000)]
    trace["scenarios"][4] |= {"evidence": evidence}
    assert len(report(trace)) < 1_500_000


# Its parts


def test_anchors_are_never_the_same_twice_and_none_is_made_up():
    trace = whole()
    trace["rules"] = [rule("a b", "passed"), rule("a-b", "passed"), rule("a|b", "passed")]
    anchors = Anchors(trace)
    found = [anchors("rule", entry["rule"]) for entry in trace["rules"]]
    assert found == ["rule-a-b", "rule-a-b-2", "rule-a-b-3"]
    assert anchors("rule", "nobody") == anchors("rule", None) == anchors("line", LAYERS, 3) == ""
    assert anchors("line", LAYERS, 4) == "line-layers.py:4"


def test_two_files_of_one_name_have_lines_of_their_own():
    trace = whole()
    trace["code"] = [trace["code"][0], {**trace["code"][0], "file": "other/layers.py"}]
    anchors = Anchors(trace)
    assert anchors("line", "engine/layers.py", 4) != anchors("line", "other/layers.py", 4) != ""
    html5lib.HTMLParser(strict=True).parse(report(trace))


def test_a_scenario_is_at_home_with_the_component_of_its_first_rule():
    found = home(whole())
    assert [s["line"] for s in found["norm"]] == [3, 12, 20]
    assert [s["line"] for s in found["file"]] == [30]
    assert [s["line"] for s in found[None]] == [50]


def test_evidence_is_grouped_by_checkpoint_whatever_the_block():
    found = groups([comparison("h.0.ln_1", 0.1), comparison("ln_f", 0.0), comparison("h.1.ln_1", 0.3)])
    assert [(g.name, len(g.comparisons), g.worst) for g in found] == [("h.N.ln_1", 2, 0.3), ("ln_f", 1, 0.0)]


def test_stretches_of_code_do_not_break_at_lines_that_are_no_statement():
    trace = whole()
    trace["code"][0] |= {"statements": [1, 4, 7, 8, 20], "missed": [], "run": {}}
    code = Code(trace, Anchors(trace))
    assert code.stretches({LAYERS: [1, 4, 7, 20]}) == [(LAYERS, 4, [(1, 7), (20, 20)])]
    assert code.stretches({"unknown.py": [2, 3]}) == [("unknown.py", 2, [(2, 3)])]


def test_a_rule_that_was_run_may_have_a_scenario_that_was_not():
    trace = whole()
    trace["problems"].append({**trace["problems"][2], "what": "norm.centred", "says": "a tokenizer"})
    assert not_run(trace) == [
        ("file.rows", "the real weights", "Bring the weights."),
        ("norm.centred", "a tokenizer", "Bring the weights."),
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.03125, "0.0312"),
        (188.0, "188"),
        (1.9e6, "1.9 × 10⁶"),
        (1e-7, "10⁻⁷"),
        (-2.5, "−2.5"),
        (12345.0, "12,300"),
        ("inf", "∞"),
        ("-inf", "−∞"),
        ("nan", "NaN"),
        (None, "NaN"),
    ],
)
def test_numbers_are_short(value, text):
    assert words.short(value) == text
