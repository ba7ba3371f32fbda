"""Break the engine in many small ways, and see whether the features alone notice.

    python tools/mutants.py [--sample 300] [--seed 0] [--file layers.py] [--all] [--json out.json]

A mutant is the engine with one operator, constant, condition or call changed. It lives in a copy of
the tree in a temporary folder. A worker there has read the specs once; it forks a process for each
mutant, which imports the broken engine and runs the features of the touched component, then all of
them, until one fails: on a tiny random model first, and what survives that on the embedded one. No test
of pytest has a part in it.

cosmic-ray (8.7) was tried and serves worse: it has no seeded sample and no operators for calls, breaks
type hints too, adds 1 to 0.044715 where a digit is what goes wrong, edits the tree that it runs in, and
brings aiohttp and SQLAlchemy with it.

A survivor is explained where docs/proof.md has the broken line with a reason; what stands there under
"Equivalent" computes the same, and counts neither way. Exit code 0: at least 95 % of the others are
killed, and every survivor is explained; 1: not; 2: the features fail on the engine as it is.
"""

from __future__ import annotations

import ast
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from safetensors.numpy import save_file

ROOT = Path(__file__).resolve().parents[1]
ENGINE = Path("llorch_core") / "engine"
DEFAULT = (
    "layers.py",
    "gpt2.py",
    "cache.py",
    "sampling.py",
)  # others have pytest only
TIMEOUT = 20.0  # seconds for one mutant, or five times as long as the engine as it is takes here
MODELS = ("tiny", "")  # folders in the copy; "" is the embedded model, for those that survive the tiny one
MEMORY = 8 << 30  # bytes of address space, so that a broken size cannot take the machine down
WANTED = 0.95

# What no rule of the specs asks for, so that no feature can; pytest holds it. `--all` breaks it too: the
# range of settings and what checks it, zip's strict, and every `if` that raises but those of ASKED.
NOT_ASKED = {"sampling.py": {"_LEAST", "_SETTINGS", "_check", "_no_overflow"}}
REFUSALS = {"_check", "_no_overflow"}
ASKED = {"KVCache.check_room"}
# Whose features run first, where the function is not called as a component is.
FEATURES = {
    "positions": ["embedding", "attention_scores"],
    "projection": ["attention_output", "qkv", "mlp"],
    "split_heads": ["qkv"],
    "merge_heads": ["attention_context"],
    "attention_scale": ["attention_scores"],
    "last_positions": ["last_position"],
    "KVCache": ["cache"],
    "softmax": ["temperature", "top_p"],
    "_keep": ["top_k", "top_p"],
    "ACTIVATIONS": ["activation"],
    "_times_half_of_one_plus_tanh": ["activation"],
    **{name: ["activation"] for name in ("gelu_new", "gelu_fast", "gelu", "quick_gelu", "silu", "relu")},
    **{name: ["activation"] for name in ("erf", "_ERF_NUMERATOR", "_ERF_DENOMINATOR")},
}

ARITHMETIC = {
    ast.Add: ("+", ["-"]), ast.Sub: ("-", ["+"]), ast.Mult: ("*", ["/", "+"]), ast.Div: ("/", ["*"]),
    ast.FloorDiv: ("//", ["/"]), ast.Mod: ("%", ["*"]), ast.Pow: ("**", ["*"]), ast.MatMult: ("@", ["*"]),
    ast.BitAnd: ("&", ["|"]), ast.BitOr: ("|", ["&"]),
}  # fmt: skip
COMPARISONS = {
    ast.Lt: ("<", ["<=", ">="]), ast.LtE: ("<=", ["<", ">"]), ast.Gt: (">", [">=", "<="]),
    ast.GtE: (">=", [">", "<"]), ast.Eq: ("==", ["!="]), ast.NotEq: ("!=", ["=="]),
    ast.Is: ("is", ["is not"]), ast.IsNot: ("is not", ["is"]), ast.In: ("in", ["not in"]),
    ast.NotIn: ("not in", ["in"]),
}  # fmt: skip
CALLS = {  # a name that stands in a call, and what a tired person writes for it
    "max": "min", "min": "max", "argmax": "argmin", "maximum": "minimum", "mean": "sum", "sum": "mean",
    "exp": "expm1", "sqrt": "cbrt", "tanh": "arctan", "cumsum": "cumprod", "copyto": "putmask",
    "any": "all", "all": "any",
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """The engine with one change.

    file      name of the module
    place     the function, class or constant that holds the change
    operator  what kind of change it is
    line      where it is
    start     first byte of what is replaced; `end` is the first one after it
    text      what stands there instead
    shown     the line as it becomes, and as it is, where two become the same
    """

    file: str
    place: str
    operator: str
    line: int
    start: int
    end: int
    text: str
    shown: str

    def applied(self, source: str) -> str:
        """Return the module with this change, and no other."""
        raw = source.encode()
        return (raw[: self.start] + self.text.encode() + raw[self.end :]).decode()

    @property
    def components(self) -> list[str]:
        """The components whose features run first."""
        name = self.place.partition(".")[0]
        return FEATURES.get(name, [name])


class _Finder(ast.NodeVisitor):
    """Walks a module and collects the changes that can be made in it."""

    def __init__(self, file: str, source: str, everything: bool) -> None:
        self.file, self.source, self.raw = file, source, source.encode()
        self.skipped = set() if everything else NOT_ASKED.get(file, set())
        self.everything = everything
        self.starts = [0]
        for line in self.raw.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.places: list[str] = []
        self.found: list[Mutant] = []

    # Where things are.

    def span(self, node: ast.AST) -> tuple[int, int]:
        """Return the bytes of a node."""
        start = self.starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]
        return start, self.starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]

    def text(self, node: ast.AST) -> str:
        """Return the source of a node."""
        start, end = self.span(node)
        return self.raw[start:end].decode()

    def add(self, operator: str, span: tuple[int, int], text: str) -> None:
        """Keep a change, unless it is none or no Python."""
        start, end = span
        place = ".".join(self.places) or "module"
        mutant = Mutant(self.file, place, operator, self.raw[:start].count(b"\n") + 1, start, end, text, "")
        first, last = self.span(self.statement)
        try:
            changed = ast.parse(self.raw[first:start] + text.encode() + self.raw[end:last])
        except SyntaxError:
            return
        same = ast.dump(changed) == ast.dump(ast.parse(self.raw[first:last]))
        if not same:
            first = self.raw.rfind(b"\n", 0, start) + 1
            last = self.raw.find(b"\n", end) % (len(self.raw) + 1)
            after = (self.raw[first:start] + text.encode() + self.raw[end:last]).decode()
            shown = " ".join(re.sub(r"  # .*", "", after).split())
            self.found.append(replace(mutant, shown=shown))

    def replace(self, operator: str, node: ast.AST, text: str) -> None:
        """Keep a change of a whole node."""
        self.add(operator, self.span(node), text)

    def between(self, operator: str, left: ast.AST, right: ast.AST, sign: str, others: Sequence[str]) -> None:
        """Keep changes of the sign that stands between two nodes."""
        start, end = self.span(left)[1], self.span(right)[0]
        at = start + self.raw[start:end].index(sign.encode())
        for other in others:
            self.add(operator, (at, at + len(sign)), other)

    # What is not walked.

    def visit_Module(self, node: ast.Module) -> None:
        for child in node.body:
            self.statement = child  # the parser is asked about this part of the module only
            names = [ast.unparse(t) for t in getattr(child, "targets", [])]
            names += [ast.unparse(child.target)] if isinstance(child, ast.AnnAssign) else []
            if isinstance(child, (ast.FunctionDef, ast.ClassDef)):
                self.visit(child)
            elif names and names != ["__all__"] and not self._is_alias(child):
                self._inside(names[0].strip("()").partition(",")[0], child)

    @staticmethod
    def _is_alias(node: ast.stmt) -> bool:
        return isinstance(node, ast.Assign) and isinstance(node.value, (ast.Subscript, ast.BinOp))

    def _inside(self, name: str, node: ast.AST) -> None:
        self.places.append(name)
        if not self.skipped & {name, ".".join(self.places)}:
            for child in ast.iter_child_nodes(node):
                if child is not getattr(node, "annotation", None):
                    self.visit(child)
        self.places.pop()

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        node.decorator_list = []
        self._inside(node.name, node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        node.decorator_list, node.returns = [], None
        self._inside(node.name, node)

    def visit_arg(self, node: ast.arg) -> None:
        """A parameter is a name and a type hint."""

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value:
            self.visit(node.value)

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg != "strict" or self.everything:
            self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        """The texts of errors are not broken."""

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        self.replace("constant", node, f'({self.text(node)} + "_")')

    # What is broken.

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            return  # a docstring
        if isinstance(node.value, ast.Call) and self._refuses(node.value):
            return
        self.replace("statement left out", node, "pass")
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if all(isinstance(target, (ast.Subscript, ast.Attribute)) for target in node.targets):
            self.replace("statement left out", node, "pass")
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.replace("statement left out", node, "pass")
        sign, others = ARITHMETIC[type(node.op)]
        self.between("operator", node.target, node.value, sign, others)
        self.between("operator", node.target, node.value, sign + "=", ["="])
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        sign, others = ARITHMETIC[type(node.op)]
        self.between("operator", node.left, node.right, sign, others)
        for kept in (node.left, node.right):
            self.replace("operand left out", node, f"({self.text(kept)})")
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        self.replace("operator", node, f"({self.text(node.operand)})")
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for i, op in enumerate(node.ops):
            sign, others = COMPARISONS[type(op)]
            self.between("operator", operands[i], operands[i + 1], sign, others)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        sign, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            self.between("operator", left, right, sign, [other])
        for left_out in node.values:
            kept = f" {sign} ".join(self.text(value) for value in node.values if value is not left_out)
            self.replace("operand left out", node, f"({kept})")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self.replace("constant", node, str(not value))
        elif isinstance(value, int):
            for other in (value + 1, value - 1):
                self.replace("constant", node, str(other) if other >= 0 else f"({other})")
        elif isinstance(value, float):
            for other_float in (value * 1.001, value * 2):  # a wrong digit, and a wrong number
                self.replace("constant", node, repr(other_float))
        elif isinstance(value, str):
            self.replace("constant", node, f'({self.text(node)} + "_")')

    def _condition(self, test: ast.expr) -> None:
        for other in ("True", "False"):
            self.replace("condition", test, other)

    def visit_If(self, node: ast.If) -> None:
        asked = self.everything or ".".join(self.places) in ASKED
        if isinstance(node.body[0], ast.Raise) and not asked:
            return
        self._condition(node.test)
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._condition(node.test)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self._condition(test)
        self.generic_visit(node)

    def visit_Slice(self, node: ast.Slice) -> None:
        for bound in (node.lower, node.upper):
            if bound:
                self.replace("bound left out", bound, "")
        self.generic_visit(node)

    def _refuses(self, node: ast.Call) -> bool:
        return not self.everything and ast.unparse(node.func).rpartition(".")[2] in REFUSALS

    def visit_Call(self, node: ast.Call) -> None:
        if self._refuses(node):
            return
        inner = node.func.value if isinstance(node.func, ast.Attribute) else None
        of_numpy = isinstance(inner, ast.Name) and inner.id in ("np", "math", "layers", "secrets", "sys")
        if inner is not None and not of_numpy:
            self.replace("call left out", node, f"({self.text(inner)})")  # x.copy() becomes x
        elif node.args and not isinstance(node.args[0], ast.Starred):
            self.replace("call left out", node, f"({self.text(node.args[0])})")  # np.exp(x) becomes x
        name = node.func.attr if isinstance(node.func, ast.Attribute) else None
        if name in CALLS:
            start, end = self.span(node.func)
            self.add("another call", (end - len(name), end), CALLS[name])
        for first, second in zip(node.args, node.args[1:], strict=False):
            (start, a), (b, end) = self.span(first), self.span(second)
            gap = self.raw[a:b].decode()
            self.add("arguments exchanged", (start, end), self.text(second) + gap + self.text(first))
        for keyword in node.keywords:
            if keyword.arg == "strict" and not self.everything:
                continue
            start, end = self.span(keyword)
            before = self.raw[:start].rstrip()
            after = re.match(rb"\s*,\s*", self.raw[end:])
            if before.endswith(b","):
                self.add("argument left out", (len(before) - 1, end), "")
            else:
                self.add("argument left out", (start, end + (after.end() if after else 0)), "")
        self.generic_visit(node)


def mutants(file: str, source: str, everything: bool = False) -> list[Mutant]:
    """Return every mutant of a module, in the order of its lines.

    everything  also of what no feature asks for by design: see NOT_ASKED, and refusals
    """
    finder = _Finder(file, source, everything)
    finder.visit(ast.parse(source))
    found = sorted(set(finder.found), key=lambda m: (m.start, m.end, m.operator, m.text))
    names = Counter(named(m) for m in found)
    lines = source.splitlines()
    return [
        m if names[named(m)] == 1 else replace(m, shown=f"{m.shown} instead of {lines[m.line - 1].strip()}")
        for m in found
    ]


def sample(all_of_them: Sequence[Mutant], count: int, seed: int) -> list[Mutant]:
    """Draw `count` mutants, the same ones for the same seed; all of them where there are no more."""
    if count >= len(all_of_them):
        return list(all_of_them)
    drawn = sorted(random.Random(seed).sample(range(len(all_of_them)), count))
    return [all_of_them[i] for i in drawn]


# The copy, and the worker in it.


def copy_tree(folder: Path) -> Path:
    """Copy what verification needs into a folder, with this tool at its top and a tiny model; return it."""
    folder.mkdir(exist_ok=True)
    for part in ("features", "steps", "specs", "llorch_core"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "environment.py", folder)
    shutil.copy(__file__, folder / "mutants.py")
    write_tiny_model(folder / "tiny")
    return folder


def write_tiny_model(folder: Path) -> None:
    """Write a random GPT-2: 2 blocks, 2 heads of 6, n_inner 20, 300 tokens, 16 positions, 40 kB."""
    config = {
        **{"model_type": "gpt2", "vocab_size": 300, "n_positions": 16, "n_embd": 12, "n_head": 2},
        **{"n_layer": 2, "n_inner": 20, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5},
        **{"tie_word_embeddings": True, "bos_token_id": 299, "eos_token_id": 299},
    }
    shapes: dict[str, tuple[int, ...]] = {"wte.weight": (300, 12), "wpe.weight": (16, 12)}
    for n in range(2):
        for name, size in {"attn.c_attn": (12, 36), "attn.c_proj": (12, 12)}.items():
            shapes |= {f"h.{n}.{name}.weight": size, f"h.{n}.{name}.bias": size[1:]}
        for name, size in {"mlp.c_fc": (12, 20), "mlp.c_proj": (20, 12)}.items():
            shapes |= {f"h.{n}.{name}.weight": size, f"h.{n}.{name}.bias": size[1:]}
        shapes |= {f"h.{n}.ln_{i}.{part}": (12,) for i in (1, 2) for part in ("weight", "bias")}
    shapes |= {"ln_f.weight": (12,), "ln_f.bias": (12,)}
    rng = np.random.default_rng(0)
    gains = {name: 1.0 if "ln_" in name and name.endswith("weight") else 0.0 for name in shapes}
    tensors = {name: (gains[name] + rng.normal(0, 0.3, s)).astype(np.float32) for name, s in shapes.items()}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file({f"transformer.{name}": x for name, x in tensors.items()}, folder / "model.safetensors")


class Worker:
    """A process in the copy that runs the features against one mutant after another.

    Use it as a context manager. If it dies, the next mutant starts another.
    """

    def __init__(self, copy: Path, timeout: float = TIMEOUT) -> None:
        self.copy, self.timeout = copy, timeout
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()

    def run(self, components: Sequence[str], models: Sequence[str]) -> dict[str, Any]:
        """Run the features against the engine that is in the copy now; see `_judge`."""
        if self._process is None or self._process.poll() is not None:
            self._process = self._start()
        assert self._process.stdin and self._process.stdout
        order = {"timeout": self.timeout, "components": list(components), "models": list(models)}
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise click.ClickException(f"the worker died in {self.copy}; run it there: import mutants")
        found: dict[str, Any] = json.loads(answer)
        return found

    def try_mutant(self, mutant: Mutant, models: Sequence[str] = MODELS) -> dict[str, Any]:
        """Put a mutant into the copy, run the features, and put the engine back as it was."""
        path = self.copy / ENGINE / mutant.file
        source = path.read_text(encoding="utf-8")
        path.write_text(mutant.applied(source), encoding="utf-8")
        try:
            return self.run(mutant.components, models)
        finally:
            path.write_text(source, encoding="utf-8")

    def _start(self) -> subprocess.Popen[str]:
        quiet = {"PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", "import mutants; mutants.serve()"]  # the copy is first in sys.path
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=self.copy, stdin=pipe, stdout=pipe, text=True, env={**os.environ, **quiet}
        )


def serve() -> None:
    """Read the specs, then answer each line of standard input with a line on standard output."""
    from llorch_core.spec.suite import load_specs, suite_folder

    import_module("llorch_core.trace.run")  # behave; not the steps, which may import the engine
    load_specs()
    assert suite_folder() == Path.cwd(), suite_folder()
    assert not [name for name in sys.modules if name.startswith("llorch_core.engine.")]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else prints does not answer
    fork = multiprocessing.get_context("fork")
    for line in sys.stdin:
        order = json.loads(line)
        mine, theirs = fork.Pipe(duplex=False)
        child = fork.Process(target=_judge, args=(theirs, order["components"], order["models"]))
        child.start()
        theirs.close()
        try:
            answer = mine.recv() if mine.poll(order["timeout"]) else {"status": "timeout"}
        except EOFError:
            answer = {"status": "crashed", "message": "the process died"}
        child.kill()
        child.join()
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _judge(pipe: Any, components: Sequence[str], models: Sequence[str]) -> None:
    """Run the features in this process, those of the components first, and send what became of the engine.

    models  folders in the copy; "" is the embedded model

    status    killed (a comparison found it), crashed (the engine raised an error), undecided (a step
              raised one: `llorch verify` could not tell), survived
    rules     of the first scenario that failed, which is the last one that runs
    scenario  its title
    not_run   titles of scenarios that something was missing for
    """
    from llorch_core.spec.suite import load_specs
    from llorch_core.trace.run import suite
    from llorch_core.trace.session import Session

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - for the rest of this process
    left: dict[str, Any] = {"status": "survived", "not_run": []}

    def ended(outcome: Any) -> None:
        told = {"rules": outcome.rules, "scenario": outcome.title, "message": outcome.message}
        if outcome.status in ("failed", "stub"):
            pipe.send({"status": "crashed" if outcome.crashed else "killed", **told})
            os._exit(0)  # one is enough
        elif outcome.status == "error" and left["status"] == "survived":
            left.update(status="undecided", **told)
        elif outcome.status == "not run" and outcome.title not in left["not_run"]:
            left["not_run"].append(outcome.title)

    try:
        from llorch_core.subject.numpy_engine import NumpyEngine

        for model in models:
            session = Session(NumpyEngine(Path(model) if model else None), load_specs())
            for tags in [*(f"@{name}.*" for name in components), "not @nothing"]:
                session = session.again()
                session.on_scenario = ended
                suite().run(session, tags)
    except Exception as error:  # the engine cannot even be loaded: `llorch verify` ends with a traceback
        left = {"status": "crashed", "message": f"{type(error).__name__}: {error}"}
    pipe.send(left)


# The run.


KILLED = ("killed", "crashed", "timeout")


def named(mutant: Mutant) -> str:
    """Return a mutant as docs/proof.md names it: where it is, and the line as it becomes."""
    return f"`{mutant.file}`, `{mutant.place}`: `{mutant.shown}`"


def explained(mutant: Mutant, proof: str) -> str:
    """Return what docs/proof.md says of a survivor: equivalent, explained, or not explained."""
    before, _, rest = proof.partition("### Equivalent")
    equivalent, heading, after = rest.partition("\n#")
    if named(mutant) in equivalent:
        return "equivalent"
    return "explained" if named(mutant) in before + heading + after else "not explained"


def told(mutant: Mutant, answer: dict[str, Any], proof: str) -> str:
    """Return the line that is printed for a survivor."""
    return f"{answer['status']} ({explained(mutant, proof)}), line {mutant.line}: {named(mutant)}"


@click.command()
@click.option("--sample", "count", type=int, default=300, show_default=True, help="How many; 0 for all.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which ones.")
@click.option("--file", "files", multiple=True, help="Module of the engine; default: " + ", ".join(DEFAULT))
@click.option("--all", "everything", is_flag=True, help="Every module, and what no feature asks for.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write every result to this file.")
def main(count: int, seed: int, files: tuple[str, ...], everything: bool, out: Path | None) -> None:
    """Break the engine in many small ways, and see whether the features alone notice."""
    names = files or (sorted(p.name for p in (ROOT / ENGINE).glob("*.py")) if everything else DEFAULT)
    for name in names:
        if not (ROOT / ENGINE / name).is_file():
            raise click.UsageError(f"{ENGINE / name} is not here (wanted a module of the engine).")
    proof_file = ROOT / "docs" / "proof.md"
    proof = proof_file.read_text(encoding="utf-8") if proof_file.is_file() else ""
    talk = Console(stderr=True, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with tempfile.TemporaryDirectory(prefix="mutants_") as folder, Worker(copy_tree(Path(folder))) as worker:
        sources = {name: (worker.copy / ENGINE / name).read_text(encoding="utf-8") for name in names}
        found = [m for name, source in sources.items() for m in mutants(name, source, everything)]
        drawn = sample(found, count or len(found), seed)
        worker.timeout, started = 600.0, time.monotonic()
        right = worker.run([], MODELS)
        worker.timeout = max(TIMEOUT, 5 * (time.monotonic() - started))
        if right["status"] != "survived":
            click.echo(f"the engine as it is does not conform: {right}", err=True)
            sys.exit(2)
        results = []
        with Progress(*columns, console=talk, transient=True, disable=not talk.is_terminal) as progress:
            task = progress.add_task("mutants", total=len(drawn))
            for mutant in drawn:
                answer = worker.try_mutant(mutant)
                if answer["status"] == "survived" and answer["not_run"] != right["not_run"]:
                    answer["status"] = "not shown"  # a rule is "not run" that otherwise passes
                if answer["status"] not in KILLED:
                    progress.console.print(told(mutant, answer, proof), markup=False)
                results.append((mutant, answer))
                progress.advance(task)
    if out:
        rows = [{**asdict(m), **answer, "explained": explained(m, proof)} for m, answer in results]
        out.write_text(json.dumps({"seed": seed, "of": len(found), "mutants": rows}, indent=1))
    sys.exit(0 if print_report(results, len(found), seed, proof) else 1)


def print_report(results: Sequence[tuple[Mutant, dict[str, Any]]], total: int, seed: int, proof: str) -> bool:
    """Print what killed how many and every survivor; return whether that is enough."""
    console = Console(highlight=False, soft_wrap=True)
    by_rule = Counter(
        answer["rules"][0] if answer.get("rules") else answer["status"]
        for _, answer in results
        if answer["status"] in KILLED
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("killed by")
    table.add_column("mutants", justify="right")
    for rule, number in by_rule.most_common():
        table.add_row(rule, str(number))
    console.print(table)
    survivors = [(m, answer) for m, answer in results if answer["status"] not in KILLED]
    for mutant, answer in survivors:
        console.print(told(mutant, answer, proof), markup=False)
    reasons = Counter(explained(mutant, proof) for mutant, _ in survivors)
    killed, able = len(results) - len(survivors), len(results) - reasons["equivalent"]
    share = killed / able if able else 0.0
    statuses = Counter(answer["status"] for _, answer in results if answer["status"] in KILLED)
    counts = ", ".join(f"{n} {status}" for status, n in statuses.most_common())
    console.print(
        f"\n{killed} of {len(results)} mutants killed ({counts}), drawn from {total} with seed {seed}; "
        f"{len(survivors)} survived: {reasons['equivalent']} equivalent, {reasons['explained']} explained, "
        f"{reasons['not explained']} not. {share:.1%} of those that are not equivalent are killed."
    )
    return share >= WANTED and not reasons["not explained"]


if __name__ == "__main__":
    main()
