"""The tool that breaks the engine: a mutant is one change, a sample is repeatable, and the features judge."""

import ast
import importlib.util
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("mutants", ROOT / "tools" / "mutants.py")
tool = importlib.util.module_from_spec(_spec)
sys.modules["mutants"] = tool
_spec.loader.exec_module(tool)


def becomes(line, file="module.py"):
    """Return what the mutants of a function of one line make of that line."""
    source = f"def f(x):\n    {line}\n"
    return {
        m.operator + ": " + m.applied(source).split("\n    ")[1].strip() for m in tool.mutants(file, source)
    }


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("y = a - b", {"operator: y = a + b", "operand left out: y = (a)", "operand left out: y = (b)"}),
        ("y += b", {"operator: y -= b", "operator: y = b", "statement left out: pass"}),
        ("y = a if b < c else d", {"condition: y = a if True else d", "condition: y = a if False else d",
                                   "operator: y = a if b <= c else d", "operator: y = a if b >= c else d"}),
        ("y = a is None", {"operator: y = a is not None"}),
        ("y = a and b", {"operator: y = a or b", "operand left out: y = (a)", "operand left out: y = (b)"}),
        ("y = not a", {"operator: y = (a)"}),
        ("y = 3", {"constant: y = 4", "constant: y = 2"}),
        ("y = 0", {"constant: y = 1", "constant: y = (-1)"}),
        ("y = 0.5", {"constant: y = 0.5005", "constant: y = 1.0"}),
        ("y = True", {"constant: y = False"}),
        ('y = "last"', {'constant: y = ("last" + "_")'}),
        ('y = f"h.{n}"', {'constant: y = (f"h.{n}" + "_")'}),
        ("y = a[b:c]", {"bound left out: y = a[:c]", "bound left out: y = a[b:]"}),
        ("y = x.copy()", {"call left out: y = (x)"}),
        ("y = np.exp(x)", {"call left out: y = (x)", "another call: y = np.expm1(x)"}),
        ("y = np.sort(x, kind=k)", {"call left out: y = (x)", "argument left out: y = np.sort(x)"}),
        ("y = g(a, b)", {"call left out: y = (a)", "arguments exchanged: y = g(b, a)"}),
        ("self.n[i] = x", {"statement left out: pass"}),
    ],
)  # fmt: skip
def test_each_operator_changes_what_it_says_and_nothing_else(line, wanted):
    assert becomes(line) == wanted


@pytest.mark.parametrize(
    "source",
    [
        '"""A docstring: 1 + 1."""\n',
        'x = a\n"""What x is."""\n',
        "def f(x: int | None = None) -> list[2]:\n    pass\n",
        "y: int | None = None\n",
        'Rows = Literal["all", "last"]\n',
        '__all__ = ["f"]\n',
        "from a import b\n",
        'def f(x):\n    if x < 0:\n        raise ValueError(f"x is {x - 1}, wanted {2}")\n',
        "def f(x):\n    _check(x, 3)\n",
        "@dataclass(frozen=True)\nclass C:\n    x: int\n",
        "def f(x):\n    return [a for a in zip(strict=True)]\n",
    ],
)
def test_what_is_no_behaviour_is_not_broken(source):
    assert tool.mutants("module.py", source) == []


def test_what_no_feature_asks_for_is_broken_on_demand_only():
    source = "def _check(x):\n    return x + 1\n\n\ndef f(x):\n    if x < 0:\n        raise E\n"
    assert tool.mutants("sampling.py", source) == []
    assert {m.place for m in tool.mutants("sampling.py", source, everything=True)} == {"_check", "f"}


@pytest.mark.parametrize("name", tool.DEFAULT)
def test_every_mutant_of_the_engine_is_python_and_differs_from_the_engine_in_one_place(name):
    source = (ROOT / tool.ENGINE / name).read_text(encoding="utf-8")
    found = tool.mutants(name, source)
    assert len(found) > 20
    raw = source.encode()
    for mutant in tool.sample(found, 60, 0):
        changed = mutant.applied(source)
        assert changed != source
        compile(changed, name, "exec", ast.PyCF_ONLY_AST)
        assert changed.encode() == raw[: mutant.start] + mutant.text.encode() + raw[mutant.end :]


def test_the_same_seed_draws_the_same_mutants():
    found = tool.mutants("cache.py", (ROOT / tool.ENGINE / "cache.py").read_text(encoding="utf-8"))
    assert tool.sample(found, 10, 4) == tool.sample(found, 10, 4) != tool.sample(found, 10, 5)
    assert len(set(tool.sample(found, 10, 4))) == 10
    assert tool.sample(found, 10_000, 4) == found


def test_the_features_tell_mutants_apart_and_a_hang_or_a_crash_ends_only_itself(tmp_path):
    path = tool.copy_tree(tmp_path / "copy") / tool.ENGINE / "layers.py"
    source = path.read_text(encoding="utf-8")

    def planted(right, wrong):
        start = source.encode().index(right.encode())
        return tool.Mutant("layers.py", "relu", "planted", 1, start, start + len(right.encode()), wrong, "")

    right = "return np.maximum(x, 0)"
    with tool.Worker(tmp_path / "copy") as worker:
        found = [
            worker.try_mutant(planted(right, wrong), ["tiny"])
            for wrong in (
                "return np.maximum(x, 1)",
                "return np.maximum(0, x)",
                "__import__('os')._exit(3)",
                "return x.nothing",
            )
        ]
        worker.timeout = 0.5
        found.insert(2, worker.try_mutant(planted(right, "while True: pass"), ["tiny"]))
    assert [answer["status"] for answer in found] == ["killed", "survived", "timeout", "crashed", "crashed"]
    assert found[0]["rules"] == ["activation.relu_cuts_at_zero"]
    assert "died" in found[3]["message"]
    assert path.read_text(encoding="utf-8") == source


def test_a_survivor_is_explained_where_the_proof_names_its_line():
    (mutant,) = tool.mutants("m.py", "def f(x):\n    return -x  # why\n")
    assert mutant.shown == "return (x)"
    line = "- `m.py`, `f`: `return (x)`: no matter\n"
    assert tool.explained(mutant, line) == "explained"
    assert tool.explained(mutant, "### Equivalent\n" + line + "### Others\n") == "equivalent"
    assert tool.explained(mutant, "### Equivalent\n### Others\n" + line) == "explained"
    assert tool.explained(mutant, line.replace("`f`", "`g`")) == "not explained"


def test_the_report_counts_and_decides(capsys):
    mutant = tool.mutants("m.py", "def f(x):\n    return -x\n")[0]
    killed, survived = {"status": "killed", "rules": ["a.b"]}, {"status": "survived"}
    proof = "`m.py`, `f`: `return (x)`"
    assert tool.print_report([(mutant, killed)] * 19 + [(mutant, survived)], 20, 0, proof)
    assert "95.0% of those that are not equivalent are killed" in capsys.readouterr().out
    assert not tool.print_report([(mutant, killed)] * 19 + [(mutant, survived)], 20, 0, "")
    two = [(mutant, killed)] * 18 + [(mutant, survived)] * 2
    assert not tool.print_report(two, 20, 0, proof)
    assert tool.print_report(two, 20, 0, "### Equivalent\n" + proof)


def test_an_unknown_module_is_the_callers_fault():
    ran = CliRunner().invoke(tool.main, ["--file", "nothing.py"])
    assert ran.exit_code == 2
    assert "nothing.py is not here" in ran.output
