"""The report in a real browser: `make test-browser`. Screenshots are left in build/report.

Chromium is the one that $CHROMIUM names, or that is on the path. LLORCH_TRACE may name the JSON of a trace,
and LLORCH_SCREENSHOTS another folder.
"""

import json
import os
from pathlib import Path

import pytest

from llorch_core.trace.report import report
from tests.browser.looks import CONTRAST, DESK, PHONE
from tests.trace.traces import FEATURE, hostile, whole

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Reports by name: of the whole trace, of hostile names, and of a real one where it is given."""
    traces = {"whole": whole(), "hostile": hostile()}
    if real := os.environ.get("LLORCH_TRACE"):
        traces["real"] = json.loads(Path(real).read_text(encoding="utf-8"))
    folder = tmp_path_factory.mktemp("report")
    for name, trace in traces.items():
        (folder / f"{name}.html").write_text(report(trace), encoding="utf-8")
    return {name: (folder / f"{name}.html").as_uri() for name in traces}


@pytest.fixture
def visit(browser, files):
    """visit(name, at, **how): a page that is open. At the end nothing was loaded, and nothing complained."""
    opened, asked, complaints = [], [], []

    def go(name="whole", at="", viewport=DESK, **how):
        context = browser.new_context(viewport=viewport, **how)
        opened.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        page.goto(files[name] + at)
        return page

    yield go
    for context in opened:
        context.close()
    assert complaints == []
    assert {url.partition("#")[0].partition("?")[0] for url in asked} <= set(files.values())
    assert len(asked) >= len(opened)


def seen(page, selector=".rule"):
    """Return the ids of the elements that are seen."""
    return page.eval_on_selector_all(selector, "all => all.filter(e => e.checkVisibility()).map(e => e.id)")


def status(page, name):
    """Click on a status of the filter."""
    page.locator(f'#filter label:has(input[value="{name}"])').click()


ALL = [f"rule-{rule['rule']}" for rule in whole()["rules"]]


def test_a_status_is_filtered_told_and_kept_in_the_address(visit):
    page = visit()
    assert seen(page) == ALL
    assert page.locator("#shown").inner_text() == "9 of 9 rules"
    status(page, "failed")
    assert seen(page) == ["rule-norm.root"]
    assert seen(page, ".component") == ["component-norm"]
    assert seen(page, ".scenario") == [f"scenario-{FEATURE}:12"]
    assert page.locator("table.all tbody tr:visible").count() == 1
    assert page.locator("#shown").inner_text() == "1 of 9 rules"
    status(page, "not run")
    assert seen(page) == ["rule-norm.root", "rule-file.rows"]
    assert page.url.endswith("?status=not+run&status=failed")
    again = visit(at="?status=not+run&status=failed")
    assert seen(again) == ["rule-norm.root", "rule-file.rows"]
    page.get_by_role("button", name="clear").click()
    assert seen(page) == ALL
    assert "?" not in page.url


def test_a_search_finds_names_texts_mistakes_and_files_and_says_when_there_is_none(visit):
    page = visit()
    for words, wanted in {
        "norm.ROOT": ["rule-norm.root"],
        "wrong": ["rule-norm.centred"],
        "tidy up": ["rule-file.lost"],
        "scenario line 40": ["rule-model.laws"],
        "layers.py centred": ["rule-norm.centred"],
        "no such thing": [],
    }.items():
        page.locator("#search").fill(words)
        assert seen(page) == wanted, words
    assert page.locator("#nothing").is_visible()
    assert page.locator("#shown").inner_text() == "0 of 9 rules"
    assert page.url.endswith("?q=no+such+thing")
    assert page.locator("#shown").get_attribute("aria-live") == "polite"


def test_all_is_done_with_the_keyboard(visit):
    page = visit()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the rules"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.type("file")
    assert seen(page) == ["rule-file.read", "rule-file.rows", "rule-file.lost"]
    page.keyboard.press("Escape")
    assert seen(page) == ALL
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.value") == "proved"
    ring = "getComputedStyle(document.activeElement.closest('label')).outlineStyle"
    assert page.evaluate(ring) == "solid"
    page.keyboard.press("Space")
    assert seen(page) == ["rule-norm.centred"]
    for _ in range(40):  # on to the first link of the card that leads to evidence
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "evidence":
            break
    page.keyboard.press("Enter")
    assert page.url.endswith(f"#evidence-{FEATURE}:3")
    assert page.locator(f'[id="evidence-{FEATURE}:3"] table').is_visible()


def test_a_link_leads_from_a_rule_to_its_evidence_and_to_the_code_and_back(visit):
    page = visit()
    assert not page.locator(f'[id="evidence-{FEATURE}:40"] table').first.is_visible()
    page.locator('[id="rule-model.laws"] a', has_text="evidence").click()
    evidence = page.locator(f'[id="evidence-{FEATURE}:40"]')
    assert evidence.evaluate("e => e.open")
    assert page.locator(f'[id="scenario-{FEATURE}:40"]').evaluate("e => e.open")
    top = evidence.evaluate("e => e.getBoundingClientRect().top")
    assert page.locator("#filter").evaluate("e => e.offsetHeight") <= top < DESK["height"]
    page.locator('[id="rule-model.laws"] summary').click()
    page.locator('[id="rule-model.laws"] a', has_text="4–5").click()
    line = page.locator('[id="line-layers.py:4"]')
    assert line.is_visible()
    line.locator("a").click()
    page.locator("#ran-1 a", has_text="model.laws").click()
    assert page.url.endswith("#rule-model.laws")


def test_a_link_to_what_is_filtered_away_shows_it(visit):
    page = visit(at="?status=failed#rule-norm.centred")
    assert "rule-norm.centred" in seen(page)
    status(page, "failed")
    assert seen(page) == ["rule-norm.root"]
    page.locator("#margins ~ ol a", has_text="model.laws").click()
    assert "rule-model.laws" in seen(page)
    assert (
        page.locator('[id="rule-model.laws"]').evaluate("e => e.getBoundingClientRect().top") < DESK["height"]
    )


def test_without_a_script_everything_is_there(visit):
    page = visit(java_script_enabled=False)
    assert page.locator(".rule:visible").count() == len(ALL)
    assert page.locator("table.all tbody tr:visible").count() == len(ALL)
    assert not page.locator("#filter").is_visible()
    page.locator(f'[id="scenario-{FEATURE}:3"] > summary').click()
    page.locator(f'[id="evidence-{FEATURE}:3"] > summary').click()
    assert page.locator(f'[id="evidence-{FEATURE}:3"] table').is_visible()


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("name", ["whole", "hostile"])
def test_nothing_is_wider_than_the_window(visit, files, name, viewport):
    for which in (name, *(["real"] if "real" in files else [])):
        page = visit(which, viewport=viewport)
        page.eval_on_selector_all("details", "all => all.forEach(e => e.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


def test_a_root_is_seen(visit):
    page = visit()
    wider = "e => e.getBoundingClientRect().width - e.firstElementChild.getBoundingClientRect().width"
    for root in page.locator("msqrt").all():
        assert root.evaluate(wider) > 4


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(visit, scheme):
    page = visit(color_scheme=scheme)
    page.eval_on_selector_all("details", "all => all.forEach(e => e.open = true)")
    assert page.evaluate(CONTRAST) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("device", "viewport"), [("phone", PHONE), ("desk", DESK)])
def test_screenshots_are_kept(visit, files, scheme, device, viewport):
    folder = Path(os.environ.get("LLORCH_SCREENSHOTS") or ROOT / "build" / "report")
    folder.mkdir(parents=True, exist_ok=True)
    name = "real" if "real" in files else "whole"
    component = "layer_norm" if name == "real" else "norm"
    for part, at in (("top", ""), ("rules", "#rules"), ("component", f"#component-{component}")):
        page = visit(name, at, viewport=viewport, color_scheme=scheme)
        path = folder / f"{part}-{device}-{scheme}.png"
        page.screenshot(path=path)
        assert path.stat().st_size > 10_000
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert back == {"light": "rgb(251, 250, 248)", "dark": "rgb(20, 24, 27)"}[scheme]
