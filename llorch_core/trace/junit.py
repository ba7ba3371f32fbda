"""A trace as JUnit XML, which every CI service shows: a suite for each feature, a case for each scenario."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any
from xml.etree import ElementTree as ET

from llorch_core.trace.plain import document, printable

RESULTS = {"failed": "failure", "stub": "failure", "error": "error", "not run": "skipped"}

Scenario = Mapping[str, Any]


def junit(trace: Mapping[str, Any]) -> str:
    """Return the scenarios of a trace as JUnit XML.

    A stub is a failure of type `stub`: it passed, and could not have failed. A scenario that needs what
    is not here is skipped, with the reason. Each case has its file and line, and as properties its rules,
    and how many elements were compared of how many.
    """
    root = ET.Element("testsuites", name=printable(f"{trace['engine']} with {trace['model']}"))
    count(root, trace["scenarios"])
    del root.attrib["skipped"]  # readers that are strict know it of a suite only
    ordered = sorted(trace["scenarios"], key=lambda scenario: str(scenario["file"]))
    for file, scenarios in groupby(ordered, key=lambda scenario: str(scenario["file"])):
        suite(root, trace, file, list(scenarios))
    return document(root)


def suite(root: ET.Element, trace: Mapping[str, Any], file: str, scenarios: Sequence[Scenario]) -> None:
    """Add one feature, with what its scenarios were run against."""
    made = trace["made"]
    element = ET.SubElement(root, "testsuite", name=printable(scenarios[0]["feature"]), file=file)
    element.set("timestamp", made["at"])
    count(element, scenarios)
    facts = {"engine": trace["engine"], "model": trace["model"], "precision": trace["precision"]}
    properties(element, [*facts.items(), ("commit", made["commit"] or "none"), ("digest", made["digest"])])
    titles = Counter((classname(scenario), scenario["title"]) for scenario in scenarios)
    for scenario in scenarios:
        alone = titles[classname(scenario), scenario["title"]] == 1
        where = "" if alone else f", line {scenario['line']}"
        case(element, scenario, f"{scenario['title']}{where}")


def case(element: ET.Element, scenario: Scenario, name: str) -> None:
    """Add one scenario. Its name is unlike that of any other of its feature: readers keep only the first."""
    found = ET.SubElement(element, "testcase", name=printable(name), classname=printable(classname(scenario)))
    found.set("time", f"{scenario['seconds']:.3f}")
    found.set("file", scenario["file"])
    found.set("line", str(scenario["line"]))
    compared = [("elements", str(scenario["elements"])), ("of", str(scenario["of"]))]
    properties(found, [*(("rule", rule) for rule in scenario["rules"]), *compared])
    if scenario["status"] in RESULTS:
        message = printable(scenario["message"]) or scenario["status"]
        result = ET.SubElement(found, RESULTS[scenario["status"]], type=scenario["status"])
        result.set("message", message.partition("\n")[0])
        result.text = f"{message}\n\n{scenario['id']}\n{printable(scenario['text'])}"


def classname(scenario: Scenario) -> str:
    """Return component.feature, which readers show as a folder and what is in it."""
    rules = scenario["rules"]
    component = rules[0].partition(".")[0] if rules else PurePosixPath(scenario["file"]).stem
    return f"{component}.{scenario['feature']}"


def count(element: ET.Element, scenarios: Sequence[Scenario]) -> None:
    """Set how many cases there are, how many of each result, and the seconds that they took."""
    results = Counter(RESULTS.get(scenario["status"]) for scenario in scenarios)
    element.set("tests", str(len(scenarios)))
    element.set("failures", str(results["failure"]))
    element.set("errors", str(results["error"]))
    element.set("skipped", str(results["skipped"]))
    element.set("time", f"{sum(scenario['seconds'] for scenario in scenarios):.3f}")


def properties(element: ET.Element, pairs: Sequence[tuple[str, str]]) -> None:
    """Add names and values."""
    parent = ET.SubElement(element, "properties")
    for name, value in pairs:
        ET.SubElement(parent, "property", name=name, value=printable(value))
