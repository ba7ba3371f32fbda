"""A trace as ReqIF, which tools for requirements read: DOORS, Polarion, Codebeamer, StrictDoc."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any
from xml.etree import ElementTree as ET

from llorch_core.trace.plain import document, printable

NAMESPACES = {
    "xmlns": "http://www.omg.org/spec/ReqIF/20110401/reqif.xsd",
    "xmlns:xhtml": "http://www.w3.org/1999/xhtml",
}
KINDS = {  # what there is, and its attributes; those that begin with ReqIF are known to every tool
    "component": ("ReqIF.ForeignID", "ReqIF.ChapterName", "ReqIF.Text"),
    "rule": ("ReqIF.ForeignID", "ReqIF.Text", "level", "source", "status", "why", "compared", "caught"),
    "scenario": ("ReqIF.ForeignID", "ReqIF.Name", "ReqIF.Text", "status", "message"),
}
RICH = ("ReqIF.ChapterName", "ReqIF.Text")  # tools want these as XHTML


def reqif(trace: Mapping[str, Any]) -> str:
    """Return the components, their rules, and the scenarios that are about them, as ReqIF.

    Two specifications: the rules by component, and the scenarios. A relation leads from each scenario to
    each rule that its tags name. An object keeps its identifier from one export to the next, so that a tool
    updates it instead of adding another.
    """
    at = datetime.fromisoformat(trace["made"]["at"]).isoformat(timespec="seconds")
    root = ET.Element("REQ-IF", NAMESPACES)
    header = add(add(root, "THE-HEADER"), "REQ-IF-HEADER", IDENTIFIER=identifier("export", at))
    add(header, "COMMENT", f"{trace['engine']} with {trace['model']}, commit {trace['made']['commit']}")
    add(header, "CREATION-TIME", at)
    add(header, "REQ-IF-TOOL-ID", "llorch")
    add(header, "REQ-IF-VERSION", "1.0")
    add(header, "SOURCE-TOOL-ID", "llorch")
    add(header, "TITLE", "llorch trace")
    content = add(add(root, "CORE-CONTENT"), "REQ-IF-CONTENT")
    add_types(content, at)
    known = [rule for rule in trace["rules"] if rule["says"] is not None]
    objects = add(content, "SPEC-OBJECTS")
    for component in trace["components"]:
        add_object(objects, "component", at, (component["id"], component["title"], component["purpose"]))
    for rule in known:
        add_object(objects, "rule", at, rule_values(rule))
    for scenario in trace["scenarios"]:
        values = (scenario[key] for key in ("id", "title", "text", "status", "message"))
        add_object(objects, "scenario", at, tuple(values))
    add_relations(content, at, trace, {rule["rule"] for rule in known})
    specifications = add(content, "SPECIFICATIONS")
    rules = add_specification(specifications, "Rules", at)
    for component in trace["components"]:
        below = add(add_place(rules, "component", component["id"], at), "CHILDREN")
        for id in component["rules"]:
            add_place(below, "rule", id, at)
    scenarios = add_specification(specifications, "Scenarios", at)
    for scenario in trace["scenarios"]:
        add_place(scenarios, "scenario", scenario["id"], at)
    return document(root)


def rule_values(rule: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the attributes of a rule, in the order of KINDS."""
    caught = sum(trial["status"] == "caught" for trial in rule["mistakes"])
    told = (rule["rule"], rule["says"], rule["level"], rule["source"] or "", rule["status"], rule["why"])
    return (*told, f"{rule['elements']} of {rule['of']} elements", f"{caught} of {len(rule['mistakes'])}")


def add_types(content: ET.Element, at: str) -> None:
    """Add the types of text, of each kind of object, of the relation and of the specifications."""
    data = add(content, "DATATYPES")
    add(data, "DATATYPE-DEFINITION-STRING", IDENTIFIER="type-STRING", LAST_CHANGE=at, MAX_LENGTH="32000")
    add(data, "DATATYPE-DEFINITION-XHTML", IDENTIFIER="type-XHTML", LAST_CHANGE=at)
    types = add(content, "SPEC-TYPES")
    for kind, names in KINDS.items():
        type = add(types, "SPEC-OBJECT-TYPE", IDENTIFIER=f"type-{kind}", LAST_CHANGE=at, LONG_NAME=kind)
        attributes = add(type, "SPEC-ATTRIBUTES")
        for name in names:
            form, id = form_of(name), f"{kind}-{name}"
            definition = f"ATTRIBUTE-DEFINITION-{form}"
            attribute = add(attributes, definition, IDENTIFIER=id, LAST_CHANGE=at, LONG_NAME=name)
            add(add(attribute, "TYPE"), f"DATATYPE-DEFINITION-{form}-REF", f"type-{form}")
    add(types, "SPEC-RELATION-TYPE", IDENTIFIER="type-about", LAST_CHANGE=at, LONG_NAME="is about")
    add(types, "SPECIFICATION-TYPE", IDENTIFIER="type-list", LAST_CHANGE=at, LONG_NAME="list")


def add_object(objects: ET.Element, kind: str, at: str, values: tuple[str, ...]) -> None:
    """Add one component, rule or scenario. Its first value is its name in llorch."""
    element = add(objects, "SPEC-OBJECT", IDENTIFIER=identifier(kind, values[0]), LAST_CHANGE=at)
    parent = add(element, "VALUES")
    for name, text in zip(KINDS[kind], values, strict=True):
        form = form_of(name)
        if form == "STRING":
            value = add(parent, "ATTRIBUTE-VALUE-STRING", THE_VALUE=printable(text))
        else:
            value = add(parent, "ATTRIBUTE-VALUE-XHTML")
            block = add(add(value, "THE-VALUE"), "xhtml:div")
            add(block, "xhtml:pre" if "\n" in text else "xhtml:p", text)
        add(add(value, "DEFINITION"), f"ATTRIBUTE-DEFINITION-{form}-REF", f"{kind}-{name}")
    add(add(element, "TYPE"), "SPEC-OBJECT-TYPE-REF", f"type-{kind}")


def add_relations(content: ET.Element, at: str, trace: Mapping[str, Any], known: set[str]) -> None:
    """Add what each scenario is about."""
    relations = add(content, "SPEC-RELATIONS")
    for scenario in trace["scenarios"]:
        for rule in (rule for rule in scenario["rules"] if rule in known):
            id = identifier("about", f"{scenario['id']} {rule}")
            relation = add(relations, "SPEC-RELATION", IDENTIFIER=id, LAST_CHANGE=at)
            add(add(relation, "TYPE"), "SPEC-RELATION-TYPE-REF", "type-about")
            add(add(relation, "SOURCE"), "SPEC-OBJECT-REF", identifier("scenario", scenario["id"]))
            add(add(relation, "TARGET"), "SPEC-OBJECT-REF", identifier("rule", rule))


def add_specification(parent: ET.Element, name: str, at: str) -> ET.Element:
    """Add a list, and return where its members go."""
    id = identifier("list", name)
    element = add(parent, "SPECIFICATION", IDENTIFIER=id, LAST_CHANGE=at, LONG_NAME=name)
    add(add(element, "TYPE"), "SPECIFICATION-TYPE-REF", "type-list")
    return add(element, "CHILDREN")


def add_place(parent: ET.Element, kind: str, name: str, at: str) -> ET.Element:
    """Add a member of a list."""
    place = add(parent, "SPEC-HIERARCHY", IDENTIFIER=identifier(f"place-of-{kind}", name), LAST_CHANGE=at)
    add(add(place, "OBJECT"), "SPEC-OBJECT-REF", identifier(kind, name))
    return place


def add(parent: ET.Element, tag: str, text: str | None = None, **attributes: str) -> ET.Element:
    """Add an element and return it; the names of its attributes have hyphens."""
    element = ET.SubElement(parent, tag, {key.replace("_", "-"): value for key, value in attributes.items()})
    element.text = printable(text) if text is not None else None
    return element


def form_of(name: str) -> str:
    """Return the data type of an attribute."""
    return "XHTML" if name in RICH else "STRING"


def identifier(kind: str, name: str) -> str:
    """Return what an object is called in XML, where a name may hold neither a slash nor a colon."""
    return f"{kind}-{sha256(name.encode()).hexdigest()[:24]}"
