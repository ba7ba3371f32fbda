"""The report: a trace as one page that needs nothing else, neither a network nor its script."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from llorch_core.spec.errors import SpecError
from llorch_core.trace import drawings, words
from llorch_core.trace.mathml import mathml
from llorch_core.trace.report_parts import (
    Anchors,
    Code,
    by_component,
    by_kind,
    gherkin,
    groups,
    home,
    not_run,
)

HERE = Path(__file__).parent
LONG = 46  # characters of an equation that may not fit on a phone


def report(trace: Mapping[str, Any]) -> str:
    """Return the trace as HTML. Whatever comes from a spec, a feature or an engine is escaped.

    trace  as `specs/schema/trace.schema.json` describes it
    """
    environment = Environment(
        loader=PackageLoader("llorch_core.trace", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = (
        Markup("".join(file.read_text(encoding="utf-8") for file in files))
        for files in ((HERE.parent / "looks.css", HERE / "report.css"), (HERE / "report.js",))
    )
    anchors = Anchors(trace)
    rules = {rule["rule"]: rule for rule in trace["rules"]}
    scenarios = {scenario["id"]: scenario for scenario in trace["scenarios"]}
    environment.filters |= {
        "short": words.short,
        "exact": _exact,
        "number": words.number,
        "duration": words.duration,
        "datum": _datum,
        "capitalize_first": lambda text: text[:1].upper() + text[1:],
    }
    template = environment.get_template("report.html.j2")
    problems = [problem for problem in trace["problems"] if problem["kind"] != "not run"]
    text = template.render(
        trace=trace,
        style=style,
        script=script,
        policy=f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'",
        words=words,
        drawings=drawings,
        anchors=anchors,
        math=_math,
        rules=rules,
        scenarios=scenarios,
        sections=by_component(trace),
        at_home=home(trace),
        code=Code(trace, anchors),
        gherkin=gherkin,
        groups=groups,
        trials={
            component["id"]: _trials(trace, {mistake["id"] for mistake in component["mistakes"]})
            for component in trace["components"]
        },
        not_run=not_run(trace),
        problems=by_kind(problems),
        how_many=len(problems),
    )
    return text.strip() + "\n"


def _digest(text: str) -> str:
    """Return what a content security policy calls an element with this text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _math(text: Any, name: str = "", with_text: bool = False) -> Markup:
    """Return an equation as mathematics in a box that scrolls where it is narrow, and what is none as code.

    with_text  whether the equation stands below it as the spec writes it
    """
    plain = f"{name} = {_datum(text)}" if name else _datum(text)
    code = Markup('<code class="text">{}</code>').format(plain)
    try:
        shown = Markup(mathml(_datum(text), name))  # made of escaped parts
    except SpecError:
        return Markup('<div class="math">{}</div>').format(code)
    wide = Markup(' tabindex="0" role="group" aria-label="equation"') if len(plain) > LONG else ""
    return Markup('<div class="math"{}>{}{}</div>').format(wide, shown, code if with_text else "")


def _datum(value: Any) -> str:
    """Return a datum of a spec as its file would write it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _exact(value: Any) -> str:
    """Return a number of a comparison with the digits that matter."""
    return words.short(value, 7)


def _trials(trace: Mapping[str, Any], mistakes: set[str]) -> dict[str, list[tuple[str, Any]]]:
    """Return for each mistake the rules that put it on trial, and what came of it."""
    found: dict[str, list[tuple[str, Any]]] = {mistake: [] for mistake in mistakes}
    for rule in trace["rules"]:
        for trial in rule["mistakes"]:
            if trial["mistake"] in found:
                found[trial["mistake"]].append((rule["rule"], trial))
    return found
