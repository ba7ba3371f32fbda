"""The report of a post-mortem in a real browser: `make test-browser`. It leaves pictures in build/postmortem.

LLORCH_CASE may name the folder of a real case, and LLORCH_SCREENSHOTS another folder for the pictures.
"""

import os
from pathlib import Path

import pytest

from llorch_core.postmortem.case import open_case
from llorch_core.postmortem.judgement.checked import Checked
from llorch_core.postmortem.judgement.judgement import read_judgement
from llorch_core.postmortem.report.page import page
from llorch_core.postmortem.report.report import Report, report_on
from tests.browser.looks import CONTRAST, DESK, PHONE
from tests.postmortem.example import CASE
from tests.postmortem.findings import HOSTILE, hostile, measured, nothing

ROOT = Path(__file__).parents[2]
HIDDEN = "e => !e.checkVisibility()"


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Pages by name: of the worked example, of hostile names, of nothing, and of a real case."""
    folder = tmp_path_factory.mktemp("postmortem")
    judgement = read_judgement(CASE)
    reports = {
        "whole": Report("the till", measured(), judgement, Checked()),
        "hostile": Report(HOSTILE, hostile(), judgement, Checked()),
        "nothing": Report("the till", nothing(), read_judgement(folder), Checked()),
    }
    if real := os.environ.get("LLORCH_CASE"):
        reports["real"] = report_on(open_case(Path(real)))
    for name, report in reports.items():
        (folder / f"{name}.html").write_text(page(report), encoding="utf-8")
    return {name: (folder / f"{name}.html").as_uri() for name in reports}


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
    assert {url.partition("#")[0] for url in asked} <= set(files.values())
    assert len(asked) >= len(opened)


def names(files, *wanted):
    """Return the pages to look at, the real one among them where it is given."""
    return [*wanted, *(["real"] if "real" in files else [])]


def test_all_is_done_with_the_keyboard_and_without_a_script(visit):
    page = visit(java_script_enabled=False)
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to the pictures"
    page.keyboard.press("Enter")
    assert page.url.endswith("#timeline")
    finding = page.locator("#entry-cents_cut_off")
    assert finding.locator("dl").evaluate(HIDDEN)
    finding.locator("summary").focus()
    page.keyboard.press("Enter")
    assert finding.locator("dl").is_visible()
    page.keyboard.press("Enter")
    assert finding.locator("dl").evaluate(HIDDEN)


def test_a_figure_leads_to_its_definition_and_its_command(visit):
    page = visit()
    page.locator("dl.numbers a", has_text="18").click()
    figure = page.locator("[id='figure-history.commits']")
    assert 0 <= figure.evaluate("e => e.getBoundingClientRect().top") < DESK["height"]
    figure.locator("summary").click()
    assert figure.locator("pre").inner_text() == "echo '18' | cat"


def test_a_step_of_a_chain_leads_to_its_finding(visit):
    page = visit()
    page.locator(".chain a", has_text="A repair began without a test that fails").click()
    assert page.url.endswith("#entry-repair_without_a_failing_test")
    top = page.locator("#entry-repair_without_a_failing_test").evaluate("e => e.getBoundingClientRect().top")
    assert 0 <= top < DESK["height"]


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
def test_nothing_is_wider_than_the_window(visit, files, viewport):
    for name in names(files, "whole", "hostile", "nothing"):
        page = visit(name, viewport=viewport)
        page.eval_on_selector_all("details", "all => all.forEach(e => e.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], name


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(visit, files, scheme):
    for name in names(files, "whole", "nothing"):
        page = visit(name, color_scheme=scheme)
        page.eval_on_selector_all("details", "all => all.forEach(e => e.open = true)")
        assert page.evaluate(CONTRAST) == [], name


def test_every_picture_is_drawn_and_what_is_in_it_is_within_it(visit, files):
    within = """e => {
      const box = e.getBoundingClientRect();
      return [...e.querySelectorAll("circle, rect, text")].filter((one) => {
        const b = one.getBoundingClientRect();
        return b.left < box.left - 1 || b.right > box.right + 1
          || b.top < box.top - 1 || b.bottom > box.bottom + 1;
      }).map((one) => one.outerHTML.slice(0, 90));
    }"""
    for name in names(files, "whole"):
        page = visit(name)
        pictures = page.locator("svg[role=img]")
        assert pictures.count() == 3
        for picture in pictures.all():
            assert picture.evaluate("e => e.getBoundingClientRect().height") > 100
            assert picture.evaluate(within) == [], name


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("device", "viewport"), [("phone", PHONE), ("desk", DESK)])
def test_screenshots_are_kept(visit, files, scheme, device, viewport):
    folder = Path(os.environ.get("LLORCH_SCREENSHOTS") or ROOT / "build" / "postmortem")
    folder.mkdir(parents=True, exist_ok=True)
    name = names(files, "whole")[-1]
    for part in ("", "hot-spots", "tests", "chains", "facts"):
        page = visit(name, f"#{part}", viewport=viewport, color_scheme=scheme)
        path = folder / f"{part or 'top'}-{device}-{scheme}.png"
        page.screenshot(path=path)
        assert path.stat().st_size > 10_000
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert back == {"light": "rgb(251, 250, 248)", "dark": "rgb(20, 24, 27)"}[scheme]
