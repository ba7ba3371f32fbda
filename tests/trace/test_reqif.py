"""ReqIF holds every component, rule and scenario, and refers only to what is there."""

import re
from collections import Counter
from xml.etree import ElementTree as ET

import pytest

from llorch_core.trace.reqif import KINDS, reqif
from tests.trace.exported import RULES, SCENARIOS, trace

NS = "{http://www.omg.org/spec/ReqIF/20110401/reqif.xsd}"
XHTML = "{http://www.w3.org/1999/xhtml}"
DEFINED_BY = {  # a reference: the element that it must lead to
    "SPEC-OBJECT-REF": "SPEC-OBJECT",
    "SPEC-OBJECT-TYPE-REF": "SPEC-OBJECT-TYPE",
    "SPEC-RELATION-TYPE-REF": "SPEC-RELATION-TYPE",
    "SPECIFICATION-TYPE-REF": "SPECIFICATION-TYPE",
    **{f"{name}-{form}-REF": f"{name}-{form}" for form in ("STRING", "XHTML")
       for name in ("DATATYPE-DEFINITION", "ATTRIBUTE-DEFINITION")},
}  # fmt: skip


def parsed(found=None):
    return ET.fromstring(reqif(found or trace()).encode("utf-8"))


def every(root, tag):
    return list(root.iter(f"{NS}{tag}"))


def objects(root):
    """Return the attributes of each object, by its identifier."""
    names = {
        e.get("IDENTIFIER"): e.get("LONG-NAME") for e in root.iter() if e.tag.startswith(f"{NS}ATTRIBUTE-DEF")
    }
    found = {}
    for element in every(root, "SPEC-OBJECT"):
        values = found[element.get("IDENTIFIER")] = {"kind": element.find(f"{NS}TYPE")[0].text}
        for value in element.find(f"{NS}VALUES"):
            rich = value.find(f"{NS}THE-VALUE")
            text = value.get("THE-VALUE") if rich is None else "".join(rich[0][0].itertext())
            values[names[value.find(f"{NS}DEFINITION")[0].text]] = text
    return found


def rule_of(root, name):
    return next(o for o in objects(root).values() if o["ReqIF.ForeignID"] == name)


def places(root):
    """Return each list as (depth, name) of its members, in order."""
    named = {id: values["ReqIF.ForeignID"] for id, values in objects(root).items()}

    def below(element, depth):
        for place in element.findall(f"{NS}CHILDREN/{NS}SPEC-HIERARCHY"):
            yield depth, named[place.find(f"{NS}OBJECT")[0].text]
            yield from below(place, depth + 1)

    return {s.get("LONG-NAME"): list(below(s, 0)) for s in every(root, "SPECIFICATION")}


def test_every_identifier_is_a_name_of_xml_and_used_once_and_has_its_date():
    root = parsed()
    with_id = [element for element in root.iter() if element.get("IDENTIFIER")]
    counts = Counter(element.get("IDENTIFIER") for element in with_id)
    assert len(counts) > 40
    assert set(counts.values()) == {1}
    assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", id) for id in counts)
    dates = {element.get("LAST-CHANGE") for element in with_id if element.tag != f"{NS}REQ-IF-HEADER"}
    assert dates == {"2025-03-01T12:00:00+00:00"} == {every(root, "CREATION-TIME")[0].text}


def test_every_reference_leads_to_something_of_its_kind():
    root = parsed()
    kind_of = {e.get("IDENTIFIER"): e.tag.removeprefix(NS) for e in root.iter() if e.get("IDENTIFIER")}
    references = [e for e in root.iter() if e.tag.endswith("-REF")]
    assert {e.tag.removeprefix(NS) for e in references} == set(DEFINED_BY)
    for reference in references:
        assert kind_of[reference.text] == DEFINED_BY[reference.tag.removeprefix(NS)]


def test_the_header_says_what_was_held_to_the_specs():
    (header,) = every(parsed(), "REQ-IF-HEADER")
    assert [child.tag.removeprefix(NS) for child in header] == [
        *("COMMENT", "CREATION-TIME", "REQ-IF-TOOL-ID", "REQ-IF-VERSION", "SOURCE-TOOL-ID", "TITLE"),
    ]
    assert header[0].text == f"numpy with shakespeare, commit {'d' * 40}"


def test_there_is_an_object_for_each_component_rule_and_scenario_and_none_for_a_tag_without_a_rule():
    found = objects(parsed()).values()
    kinds = Counter(values["kind"] for values in found)
    assert kinds == {"type-component": 3, "type-rule": len(RULES), "type-scenario": len(SCENARIOS)}
    assert not [values for values in found if values["ReqIF.ForeignID"] == "mlp.gone"]
    for values in found:
        assert set(values) == {"kind", *KINDS[values["kind"].removeprefix("type-")]}


def test_a_rule_has_its_words_and_what_stands_behind_it():
    proved = trace()
    trial = {"mistake": "a", "status": "caught", "scenario": None, "checkpoint": None, "tolerances": None}
    proved["rules"][0]["mistakes"] = [trial, trial | {"status": "missed"}]
    assert rule_of(parsed(proved), "layer_norm.population_variance") == {
        "kind": "type-rule",
        "ReqIF.ForeignID": "layer_norm.population_variance",
        "ReqIF.Text": "Divide the sum of squares by n_embd.",
        "level": "must",
        "source": "Ba et al. 2016",
        "status": "proved",
        "why": "",
        "compared": "4 of 4 elements",
        "caught": "1 of 2",
    }
    odd = rule_of(parsed(), "layer_norm.epsilon_inside_root")
    assert odd["ReqIF.Text"] == 'Add epsilon <before> the root, "not" after & never twice.'


def test_a_scenario_has_its_gherkin_line_by_line_and_its_message():
    found = rule_of(parsed(), "features/components/layer_norm.feature:11")
    assert (
        found["ReqIF.Text"] == "Scenario: Epsilon damps a small row\n  When x is [1, 2]\n  Then it conforms"
    )
    assert found["message"].endswith("\n\\x1b[31m188 tolerances\\x1b[0m away\\x00\\xd800\\x0d")


def test_rich_text_is_a_block_of_xhtml():
    blocks = [value[0] for value in every(parsed(), "THE-VALUE")]
    assert {block.tag for block in blocks} == {f"{XHTML}div"}
    assert {block[0].tag for block in blocks} == {f"{XHTML}p", f"{XHTML}pre"}


def test_the_rules_are_listed_below_their_components_and_the_scenarios_in_their_order():
    found = places(parsed())
    assert found["Rules"] == [
        (0, "layer_norm"),
        (1, "layer_norm.population_variance"),
        (1, "layer_norm.epsilon_inside_root"),
        (0, "mlp"),
        (1, "mlp.activation_of_the_config"),
        (1, "mlp.hidden_size"),
        (0, "text"),
        (1, "text.of_openai"),
    ]
    assert found["Scenarios"] == [(0, scenario["id"]) for scenario in trace()["scenarios"]]


def test_a_relation_leads_from_each_scenario_to_each_rule_that_exists():
    root = parsed()
    named = {id: values["ReqIF.ForeignID"] for id, values in objects(root).items()}
    ends = [
        tuple(named[relation.find(f"{NS}{end}")[0].text] for end in ("SOURCE", "TARGET"))
        for relation in every(root, "SPEC-RELATION")
    ]
    wanted = [(s["id"], rule) for s in trace()["scenarios"] for rule in s["rules"] if rule != "mlp.gone"]
    assert ends == wanted


def test_an_object_keeps_its_identifier_whatever_became_of_it():
    later = trace()
    later["made"]["at"] = "2025-04-01T12:00:00Z"
    for rule in later["rules"]:
        rule.update(status="failed", why="broken since")
    assert list(objects(parsed())) == list(objects(parsed(later)))
    assert every(parsed(later), "CREATION-TIME")[0].text == "2025-04-01T12:00:00+00:00"


@pytest.mark.parametrize("key", ["title", "message", "text"])
def test_no_text_can_break_the_xml(key):
    nasty = trace()
    nasty["scenarios"][1][key] = "]]> <&\"'\x00\x1b[2J\ufffe\udfff ü 😀"
    assert "\\x1b[2J" in ET.tostring(parsed(nasty), encoding="unicode")
