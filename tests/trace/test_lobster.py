"""The documents for LOBSTER have its form, and leave to LOBSTER what is wrong."""

import json

import pytest

from llorch_core.trace.lobster import NAMES, functions, lobster
from tests.trace.exported import LAYERS, RULES, SCENARIOS, trace

ITEM = {"tag", "location", "name", "messages", "just_up", "just_down", "just_global"}


def documents(found=None):
    return json.loads(json.dumps(lobster(found or trace()), allow_nan=False))


def items(index, found=None):
    return {item["tag"]: item for item in documents(found)[index]["data"]}


def test_each_document_has_its_schema_and_a_name_of_its_own():
    found = documents()
    assert [(d["schema"], d["version"]) for d in found] == [
        ("lobster-req-trace", 4),
        ("lobster-act-trace", 3),
        ("lobster-imp-trace", 3),
    ]
    assert all(set(d) == {"data", "generator", "schema", "version"} for d in found)
    assert len(set(NAMES)) == len(found)
    assert all(name.endswith(".lobster") for name in NAMES)


@pytest.mark.parametrize(
    ("index", "more"),
    [
        (0, {"framework", "kind", "text", "status"}),
        (1, {"refs", "framework", "kind", "status"}),
        (2, {"refs", "language", "kind"}),
    ],
)
def test_each_item_has_the_keys_of_its_schema(index, more):
    found = documents()[index]["data"]
    tags = [item["tag"] for item in found]
    assert len(set(tags)) == len(tags) > 2
    for item in found:
        assert set(item) == ITEM | more
        for tag in (item["tag"], *item.get("refs", ())):
            namespace, _, name = tag.partition(" ")
            assert namespace.isalpha() and namespace.islower() and name and "@" not in name
        location = item["location"]
        if location["kind"] == "file":
            assert set(location) == {"kind", "file", "line", "column"}
            assert location["line"] is None or location["line"] >= 1
        else:
            assert location == {"kind": "void"}


def test_every_rule_is_a_requirement_and_a_tag_without_a_rule_is_none():
    found = items(0)
    assert list(found) == [f"req {id}" for id, *_ in RULES]
    first = found["req layer_norm.population_variance"]
    assert first["text"] == "Divide the sum of squares by n_embd."
    assert (first["kind"], first["status"], first["name"]) == ("must", "proved", first["tag"][4:])
    assert first["location"] == {
        "kind": "file",
        "file": "specs/components/layer_norm.yaml",
        "line": 40,
        "column": None,
    }


def test_a_rule_that_does_not_hold_carries_the_reason_and_one_that_was_not_run_is_justified():
    said = {
        item["name"].partition(".")[2]: (item["messages"], item["just_down"]) for item in items(0).values()
    }
    assert said == {
        "population_variance": ([], []),
        "epsilon_inside_root": (["failed: 1 of 1 scenario fails"], []),
        "activation_of_the_config": (["stub: its scenario compares nothing"], []),
        "hidden_size": (["untested: no scenario has its tag"], []),
        "of_openai": ([], ["not run: needs the real GPT-2"]),
    }


@pytest.mark.parametrize("status", ["error", "stale"])
def test_no_other_status_is_silent(status):
    changed = trace()
    changed["rules"][0].update(status=status, why="the reason")
    assert items(0, changed)["req layer_norm.population_variance"]["messages"] == [f"{status}: the reason"]


def test_a_rule_that_passed_and_is_not_proved_is_silent():
    changed = trace()
    changed["rules"][0].update(status="passed", why="not shown that it can fail")
    first = items(0, changed)["req layer_norm.population_variance"]
    assert (first["messages"], first["status"]) == ([], "passed")


def test_a_scenario_refers_to_its_rules_and_also_to_one_that_does_not_exist():
    found = list(items(1).values())
    assert [item["refs"] for item in found] == [[f"req {rule}" for rule in row[2]] for row in SCENARIOS]
    assert found[4]["refs"] == ["req mlp.gone"]


def test_a_scenario_has_the_status_that_lobster_knows_and_says_why_it_failed():
    found = list(items(1).values())
    assert [item["status"] for item in found] == ["ok", "fail", "fail", "fail", "ok", "not run"]
    assert [bool(item["messages"]) for item in found] == [False, True, True, True, False, False]
    assert found[1]["messages"] == ["h.0.ln_1 [1, 2]: got 2.5 & wanted <1.25>"]
    assert found[5]["just_up"] == ["not run: the real GPT-2 (LLORCH_GPT2)"]


def test_a_function_refers_to_the_rules_whose_scenarios_ran_it():
    found = {tag: item["refs"] for tag, item in items(2).items()}
    text, mlp = "req text.of_openai", "req mlp.activation_of_the_config"
    assert found == {
        "code llorch_core.engine.layers.layer_norm": [f"req {id}" for id, *_ in RULES[:2]],
        "code llorch_core.engine.layers.Cache.extend": [mlp, text],
        "code llorch_core.engine.layers.Cache.extend.joined": [text],
        "code llorch_core.engine.layers.dead": [],
        "code kernels/gelu.cu": [mlp],
    }


def test_a_function_is_found_at_its_first_line_and_a_file_at_its_own():
    lines = {item["name"]: (item["location"]["line"], item["kind"]) for item in items(2).values()}
    assert lines == {
        "layer_norm": (6, "function"),
        "Cache.extend": (12, "function"),
        "Cache.extend.joined": (13, "function"),
        "dead": (19, "function"),
        "kernels/gelu.cu": (1, "file"),
    }


def test_two_functions_of_one_name_are_one_item():
    text = ["class A:", "    @property", "    def x(self):", "        return 1", "", "    @x.setter"]
    text += ["    def x(self, y):", "        self.y = y"]
    twice = trace()
    twice["code"] = [
        {
            "file": "a.py",
            "text": text,
            "statements": [4, 8],
            "run": {"4": [0], "8": [1]},
            "missed": [],
            "excused": [],
        }
    ]
    found = documents(twice)[2]["data"]
    assert [(item["tag"], item["location"]["line"]) for item in found] == [("code a.A.x", 3)]
    assert found[0]["refs"] == [f"req {id}" for id, *_ in RULES[:2]]


def test_a_line_belongs_to_the_innermost_function_and_a_header_to_what_is_around_it():
    owners = functions(LAYERS)
    assert {line: name for line, (name, _) in owners.items()} == {
        **dict.fromkeys([7, 8], "layer_norm"),
        **dict.fromkeys([13, 15, 16], "Cache.extend"),
        14: "Cache.extend.joined",
        20: "dead",
    }


def test_what_is_not_python_has_no_functions():
    assert functions(["def broken(:"]) == {}


def test_a_rule_without_a_file_has_no_place():
    bare = trace()
    bare["rules"][0].update(file=None, line=None)
    assert items(0, bare)["req layer_norm.population_variance"]["location"] == {"kind": "void"}


def test_no_text_can_break_the_encoding_or_the_tags():
    nasty = trace()
    nasty["scenarios"][1].update(id="features/a@b.feature:3", title="\ud800", message="\x1b[2J \ud800\nmore")
    for document in lobster(nasty):
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    item = items(1, nasty)["scenario features/a%40b.feature:3"]
    assert item["messages"] == ["\\x1b[2J \\xd800"]
