"""The report as one page: pictures first, then what was judged, then how each figure was measured."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from llorch_core.postmortem.judgement.judgement import (
    Assumption,
    Bug,
    Cause,
    Chain,
    Decision,
    Guardrail,
    Lesson,
    Process,
    RuledOut,
    Team,
)
from llorch_core.postmortem.report import bars, pictures, scatter, timeline
from llorch_core.postmortem.report.fill import fill
from llorch_core.postmortem.report.markdown import cell, numeric
from llorch_core.postmortem.report.phases import OF_A_DECISION, OF_AN_ASSUMPTION, QUESTIONS, again, asked_of
from llorch_core.postmortem.report.report import Report, place, tally
from llorch_core.postmortem.report.sections import sections
from llorch_core.postmortem.report.sentences import HEADLINES, NUMBERS, said, sentences
from llorch_core.postmortem.report.wording import PERCENT, count, figure, moment

HERE = Path(__file__).parent
STYLES = (HERE.parents[1] / "looks.css", HERE / "templates" / "page.css")
MOST_ROWS = 12


def page(report: Report) -> str:
    """Return the report as HTML. Whatever comes from the repository or the judgement is escaped."""
    style = Markup("".join(file.read_text(encoding="utf-8") for file in STYLES))
    judgement = report.judgement
    measured = sections(report.facts, MOST_ROWS)
    text = template().render(
        r=report,
        style=style,
        policy=f"default-src 'none'; style-src '{digest(style)}'; base-uri 'none'; form-action 'none'",
        filled=lambda text: filled(text, report),
        sections=measured,
        tables={shown.name: shown for section in measured for shown in section.tables},
        sentences=sentences,
        headlines=said(HEADLINES, report.facts),
        numbers=NUMBERS,
        timeline=pictures.timeline(report),
        days_say=pictures.days_say,
        lane_keys=pictures.lane_keys,
        geometry=timeline,
        languages=bars.languages(report.facts),
        tests=bars.tests(report.facts),
        claims=bars.claims(report.facts),
        outcomes=pictures.outcomes(judgement),
        hot=scatter.hot_spots(report.facts),
        of_map=scatter,
        causes=judgement.of(Cause),
        chains=judgement.of(Chain),
        bugs=judgement.of(Bug),
        assumptions=judgement.of(Assumption),
        decisions=sorted(judgement.of(Decision), key=lambda one: one.date),
        process=judgement.of(Process),
        teams=judgement.of(Team),
        lessons=judgement.of(Lesson),
        guardrails=judgement.of(Guardrail),
        ruled_out=judgement.of(RuledOut),
        questions=QUESTIONS,
        asked_of=asked_of,
        of_an_assumption=OF_AN_ASSUMPTION,
        of_a_decision=OF_A_DECISION,
        again=again,
        place=place,
        tally=tally,
        count=count,
        units_of_share=PERCENT,
        cell=cell,
        numeric=numeric,
    )
    return text.strip() + "\n"


@cache
def template() -> Template:
    """Return the template of the page."""
    environment = Environment(
        loader=PackageLoader("llorch_core.postmortem.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": figure, "moment": moment, "thousands": thousands}
    return environment.get_template("page.html.j2")


def filled(text: str, report: Report) -> Markup:
    """Return a text with its figures, each of which leads to its definition and command."""

    def shown(name: str, told: str) -> str:
        if name not in report.facts.figures:
            return str(escape(told))
        return str(Markup('<a class="fig" href="#figure-{}">{}</a>').format(name, told))

    return Markup(fill(text, report.facts, lambda part: str(escape(part)), shown))


def digest(text: str) -> str:
    """Return what a content security policy calls an element with this text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def thousands(number: int) -> str:
    """Return a number with commas."""
    return f"{number:,}"
