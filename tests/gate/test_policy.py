"""A policy is strict where it says nothing, and is refused where it says what nobody knows."""

from datetime import date

import pytest

from llorch_core.gate.policy import Floors, PolicyError, read_policy


def policy(folder, text):
    path = folder / "pyproject.toml"
    path.write_text(text)
    return read_policy(path)


@pytest.mark.parametrize("text", ["", "[tool.other]\nx = 1\n", "[tool.llorch]\n", "[tool.llorch.gate]\n"])
def test_without_a_word_everything_is_demanded(tmp_path, text):
    found = policy(tmp_path, text)
    assert (found.mistakes, found.elements, found.proved) == (100, 100, ("must",))
    assert found.package == Floors(90, 80)
    assert found.engine == Floors(98, 95)
    assert not found.allow_dirty
    assert found.not_run == ()
    assert found.folder == tmp_path


def test_a_file_that_is_not_there_is_the_strict_policy(tmp_path):
    assert read_policy(tmp_path / "pyproject.toml").mistakes == 100


def test_what_is_said_counts_and_the_rest_stays(tmp_path):
    found = policy(tmp_path, "[tool.llorch.gate.coverage]\npackage = { line = 50, branch = 40 }\n")
    assert found.package == Floors(50, 40)
    assert found.engine == Floors(98, 95)
    assert found.given == {"coverage"}


def test_an_allowance_has_a_rule_a_reason_and_a_day(tmp_path):
    entry = 'rule = "sampling.*"\nreason = "it has no sampler"\nexpires = 2030-01-31\n'
    (allowance,) = policy(tmp_path, f"[[tool.llorch.gate.not_run]]\n{entry}").not_run
    assert allowance.expires == date(2030, 1, 31)
    assert allowance.fits("sampling.fresh_seed", "any title")
    assert not allowance.fits("sampling_of_another.rule", "any title")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[tool.llorch.gate]\nmistake = 100\n", "'mistake' was unexpected"),
        ("[tool.llorch.gate]\nmistakes = 101\n", "101 is greater than the maximum"),
        ("[tool.llorch.gate]\nproved = ['musst']\n", "'musst' is not one of"),
        ("[tool.llorch]\ngate = 3\n", "3 is not of type 'object'"),
        ("[tool.llorch.gate]\ncoverage = { engine = { line = 1 } }\n", "'branch' is a required property"),
        (
            "[[tool.llorch.gate.not_run]]\nrule = 'a.b'\nexpires = 2030-01-31\n",
            "'reason' is a required property",
        ),
        (
            "[[tool.llorch.gate.not_run]]\nrule = 'a.b'\nreason = 'no'\nexpires = 2030-01-31\n",
            "'no' is too short",
        ),
        (
            "[[tool.llorch.gate.not_run]]\nrule = 'ab'\nreason = 'a long reason'\nexpires = 2030-01-31\n",
            "not match",
        ),
        (
            "[[tool.llorch.gate.not_run]]\nrule = 'a.b'\nreason = 'a long reason'\nexpires = 'soon'\n",
            "wanted a date",
        ),
        ("[tool.llorch.gate\n", "cannot be read"),
    ],
)
def test_a_policy_that_nobody_understands_is_refused(tmp_path, text, says):
    with pytest.raises(PolicyError) as told:
        policy(tmp_path, text)
    assert says in str(told.value)
    assert str(tmp_path / "pyproject.toml") in str(told.value)
