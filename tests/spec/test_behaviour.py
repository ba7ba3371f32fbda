"""A spec of data says what its scenarios must be like; where it says nothing that holds, it cannot enter."""

import re

import pytest

from llorch_core.spec.behaviour import Behaviour, read_behaviour
from llorch_core.spec.errors import SpecError
from llorch_core.spec.suite import AFTER, BEFORE, load_specs, suite_folder

SCHEMAS = suite_folder() / "specs" / "schema"
CARD = """\
id: queue
title: A queue
purpose: Hand out first what came first.
source: ["by hand"]
data:
  first: {is: the oldest, meaning: what is handed out first}
conditions:
  several:
    holds: waiting >= 2
    why:   of one there is no order
  differ:
    holds: different == waiting
    why:   two that are alike may be exchanged unseen
rules:
  in_order:
    must:    Hand out the oldest first.
    source:  by hand
    needs:   [several, differ]
    catches: [newest_first, by_chance]
mistakes:
  newest_first:
    instead: {first: the newest}
    symptom: a stack
  by_chance:
    instead: {first: any}
    symptom: no order at all
"""


def load(folder, text=CARD):
    path = folder / "queue.yaml"
    path.write_text(text)
    return read_behaviour(path, SCHEMAS)


def conditions(folder):
    return load(folder).needs["in_order"]


def test_a_rule_knows_the_conditions_that_it_needs(tmp_path):
    several, differ = conditions(tmp_path)
    assert (several.id, several.holds.text) == ("queue.several", "waiting >= 2")
    assert differ.why == "two that are alike may be exchanged unseen"


def test_a_condition_says_what_it_found(tmp_path):
    several, differ = conditions(tmp_path)
    assert several.unmet_by({"waiting": 2}) is None
    assert several.unmet_by({"waiting": 1}) == "waiting = 1"
    assert differ.unmet_by({"waiting": 3, "different": 2}) == "different = 2, waiting = 3"


def test_a_fact_that_nobody_measured_meets_no_condition(tmp_path):
    _, differ = conditions(tmp_path)
    assert differ.unmet_by({"waiting": 3}) == "no step measured different"


def test_a_fact_that_is_no_number_meets_no_condition(tmp_path):
    several, _ = conditions(tmp_path)
    assert several.unmet_by({"waiting": float("nan")}) == "waiting = nan"


@pytest.mark.parametrize(
    ("old", "new", "said", "line"),
    [
        ("needs:   [several, differ]", "needs:   [severl, differ]", "needs severl, which is not", "needs:"),
        ("needs:   [several, differ]", "needs:   [several]", "no rule needs differ", "  differ:"),
        ("waiting >= 2", "waiting >=", "'waiting >=' is not an equation", "    holds: waiting >="),
        ("waiting >= 2", "waiting.size", "is not allowed", "    holds: waiting.size"),
        ("waiting >= 2", "count(waiting)", "count in 'count(waiting)' is not a function", "    holds: count"),
        ("waiting >= 2", "3 >= 2", "reads no fact", "    holds: 3"),
        ("waiting >= 2", "2.0", "2.0 is not of type 'string'", "    holds: 2.0"),
        ("    why:   of one there is no order\n", "", "'why' is a required property", "  several:"),
        ("    needs:   [several, differ]\n", "", "'needs' is a required property", "  in_order:"),
        ("[several, differ]", "[]", "[] should be non-empty", "    needs:"),
        ("[several, differ]", "[several, several, differ]", "non-unique", "    needs:"),
        (CARD[CARD.index("conditions") : CARD.index("rules")], "", "'conditions' is a required", "id: queue"),
    ],
)
def test_a_spec_that_says_nothing_of_its_data_is_refused_with_file_and_line(tmp_path, old, new, said, line):
    assert old in CARD
    text = CARD.replace(old, new, 1)
    with pytest.raises(SpecError, match=re.escape(said)) as raised:
        load(tmp_path, text)
    number = next(n for n, content in enumerate(text.splitlines(), 1) if line.strip() in content)
    assert f"queue.yaml:{number}:" in str(raised.value)


def test_every_rule_of_every_behaviour_needs_something_of_its_data():
    behaviours = [part for part in load_specs().parts() if isinstance(part, Behaviour)]
    assert len(behaviours) == len(BEFORE) + len(AFTER) >= 8
    for behaviour in behaviours:
        assert behaviour.needs.keys() == behaviour.rules.keys()
        assert all(behaviour.needs.values())
