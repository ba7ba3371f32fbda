"""A spec is run when it is loaded, within bounds; the error names the line that is at fault."""

import re

import pytest

from llorch_core.spec.component import read_component
from llorch_core.spec.errors import SpecError
from llorch_core.spec.suite import load_specs, suite_folder
from llorch_core.spec.trial import SIZES, check_component, samples

CARD = """\
id: mixed
title: A mixture
purpose: Mix two tensors.
source: ["by hand"]
inputs:
  x: {shape: [T, n_embd], meaning: one}
  y: {shape: [T, n_embd], meaning: two}
constants:
  factor: 3
equations:
  both: x + y
  out:  factor * both
output:
  out: [T, n_embd]
tolerance:
  bound: 8 * eps * (abs(x) + abs(y)) * factor
  why:   one addition and one product
rules:
  adds:
    must:    Add both.
    source:  by hand
    catches: [one_only, unscaled]
mistakes:
  one_only:
    instead: {both: x}
    symptom: y is not there
  unscaled:
    instead: {factor: 1}
    symptom: too small
conditions:
  several_rows: {holds: T >= 3, why: one row hides the others}
"""
CASES = "cases:\n  config: activation_function\n  equation: {gelu: both}\nequations:"


def load(folder, text):
    path = folder / "mixed.yaml"
    path.write_text(text)
    component = read_component(path, suite_folder() / "specs" / "schema", load_specs().components)
    check_component(component, load_specs().defaults)


def test_a_true_spec_passes_its_trial(tmp_path):
    load(tmp_path, CARD)


# what is changed in the card, what it becomes, the line that the error names, and what it says
FALSE = {
    "equation that cannot be computed": (
        "factor * both",
        "factor * both @ x",
        12,
        "'factor * both @ x' cannot be computed",
    ),
    "equation above it that cannot": ("both: x + y", "both: x @ y", 11, "'x @ y' cannot be computed"),
    "tolerance that cannot": ("8 * eps * (abs(x)", "8 * eps * (abs(x) @ x", 15, "cannot be computed"),
    "mistake that cannot": ("{both: x}", "{both: x @ y}", 24, "'x @ y' cannot be computed"),
    "equation without end": (
        "both: x + y",
        "both: x + y + 0 * max(arange(2**27))",
        11,
        "larger than 262,144 elements",
    ),
    "matrices without end": (
        "both: x + y",
        "both: x + y + 0 * max(column @ transpose(column))".replace(
            "column", "reshape(arange(2000), 2000, 1)"
        ),
        11,
        "larger than 262,144",
    ),
    "input without end": ("y: {shape: [T, n_embd]", "y: {shape: [100000, 100000]", 7, "larger than"),
    "input of a negative size": (
        "y: {shape: [T, n_embd]",
        "y: {shape: [T, 0 - n_embd]",
        7,
        "must be 0 or more",
    ),
    "input of half a size": (
        "y: {shape: [T, n_embd]",
        "y: {shape: [T, n_embd / 2]",
        7,
        "whole number, got 16.5",
    ),
    "input of infinite size": ("y: {shape: [T, n_embd]", "y: {shape: [T, inf]", 7, "whole number, got inf"),
    "input of an unknown size": ("y: {shape: [T, n_embd]", "y: {shape: [T, n_emb]", 7, "n_emb is not a size"),
    "output of an unknown size": ("  out: [T, n_embd]", "  out: [T, n_emb]", 14, "n_emb is not a size"),
    "output of half a size": ("  out: [T, n_embd]", "  out: [T, n_embd / 2]", 14, "whole number, got 16.5"),
    "masked vector": (
        "y: {shape: [T, n_embd], ",
        "y: {shape: [n_embd], kind: masked, ",
        7,
        "y cannot be masked of shape [n_embd]",
    ),
    "scalar with ties": (
        "y: {shape: [T, n_embd], ",
        "y: {shape: [], kind: ties, ",
        7,
        "y cannot be ties of shape []",
    ),
    "count that is a matrix": (
        "meaning: two",
        "kind: count, meaning: two",
        7,
        "y cannot be count of shape [T, n_embd]",
    ),
    "choice that is a matrix": ("meaning: two", "among: [1], meaning: two", 7, "y is [], wanted [T, n_embd]"),
    "constant that the config lacks": ("factor: 3", "factor: config.factor", 9, "the config has no factor"),
    "constant that is a word": (
        "factor: 3",
        "factor: config.activation_function",
        9,
        "= 'gelu_new', wanted a number",
    ),
    "constant that YAML reads as text": (
        "factor: 3",
        "factor: 1e-5",
        9,
        "1e-5 is text to YAML. Write 1.0e-5",
    ),
    "mistake that YAML reads as text": (
        "{factor: 1}",
        "{factor: 1e-5}",
        28,
        "factor is '1e-5': text to YAML; write 1.0e-5",
    ),
    "mistake that is a word": ("{factor: 1}", "{factor: x}", 28, "factor is 'x': wanted a number"),
    "right answer by chance": ("factor * both", "factor * dropout(both)", 12, "dropout differs each time"),
    "tolerance by chance": ("bound: 8 * eps", "bound: dropout(8) * eps", 16, "dropout differs each time"),
    "infinite tolerance": ("bound: 8 * eps", "bound: inf * eps", 15, "not a finite number"),
    "tolerance that is not a number": ("bound: 8 * eps", "bound: inf * 0 * eps", 15, "not a finite number"),
    "no tolerance": (
        "  bound: 8 * eps * (abs(x) + abs(y)) * factor\n",
        "",
        15,
        "'bound' is a required property",
    ),
    "tolerance of another output": (
        "bound: 8 * eps * (abs(x) + abs(y)) * factor",
        "bound: {both: 1}",
        15,
        "the output out has no tolerance",
    ),
    "unknown key of a rule": (
        "    must:    Add both.",
        "    must:    Add both.\n    why:     so",
        21,
        "'why' was unexpected",
    ),
    "unknown key of an input": ("meaning: two", "meaning: two, unit: m", 7, "'unit' was unexpected"),
    "name with a capital": ("  both: x + y", "  Both: x + y", 11, "'Both' does not match"),
    "mistake that gives another shape": (
        "{both: x}",
        "{both: 'max(x + y)[0]'}",
        24,
        "one_only gives out the shape [1] instead of [5, 33]",
    ),
    "case of an unknown config": (
        CARD[CARD.index("equations:") : CARD.index("output:")],
        CASES.replace("activation_function", "activation") + "\n  both: factor * (x + y)\n",
        11,
        "the config has no activation",
    ),
    "case and an equation out": ("equations:", CASES, 16, "no equation of that name"),
}


@pytest.mark.parametrize("what", FALSE)
def test_a_false_spec_is_refused_at_its_line(tmp_path, what):
    right, wrong, line, named = FALSE[what]
    assert CARD.count(right) == 1
    with pytest.raises(SpecError) as caught:
        load(tmp_path, CARD.replace(right, wrong))
    found = re.fullmatch(r".*mixed\.yaml:(\d+): (.*)", str(caught.value), re.DOTALL)
    assert found, caught.value
    assert named in found[2]
    assert int(found[1]) == line


def test_a_chain_of_a_thousand_equations_is_refused_and_not_followed(tmp_path):
    chain = "  e0: x + y\n" + "".join(f"  e{i}: e{i - 1}\n" for i in range(1, 1000)) + "  both: e999"
    with pytest.raises(SpecError, match=r"mixed\.yaml:10: equations: .*too many properties"):
        load(tmp_path, CARD.replace("  both: x + y", chain))


def test_the_sizes_of_a_trial_are_distinct_primes_but_for_those_that_follow():
    free = [n for name, n in SIZES.items() if name not in ("n_embd", "S", "B")]
    assert len(free) == len(set(free))
    assert all(n % d for n in free for d in range(2, n))
    assert SIZES["n_embd"] == SIZES["n_head"] * SIZES["head_dim"]
    assert SIZES["S"] == SIZES["P"] + SIZES["T"]


def test_samples_are_what_their_kind_says():
    spec = load_specs().components
    for draw in range(4):
        ids = samples(spec["embedding"], draw)["ids"]
        assert (ids == ids.astype(int)).all()
        assert 0 <= ids.min() <= ids.max() < SIZES["n_vocab"]
        lengths = samples(spec["last_position"], draw)["lengths"]
        assert lengths.sum() == SIZES["T"]
        assert lengths.min() >= 1
        shares = samples(spec["attention_context"], draw)["probs"]
        assert abs(shares.sum(axis=-1) - 1).max() < 1e-12
        scores = samples(spec["attention_weights"], draw)["scores"]
        assert [(row == float("-inf")).sum() for row in scores[0]] == [4, 3, 2, 1, 0]
    assert [float(samples(spec["top_k"], draw)["k"]) for draw in range(4)] == [1, 2, 5, 0]
