"""Read the Python files of a repository: which hold tests, which steps, which the product."""

from __future__ import annotations

import ast
import io
import os
import re
import tokenize
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from llorch_core.stubs.settings import Settings
from llorch_core.stubs.syntax import FUNCTIONS, dotted, last, text

MOST_BYTES = 4_000_000  # of one file; longer ones are data
LEFT_OUT = {"__pycache__", "node_modules", "site-packages", "build", "dist", "venv", "env"}
TEST_FILE = re.compile(r"test_.*\.py|.*_tests?\.py|tests?\.py")
TEST_FOLDER = re.compile(r"tests?|testing|.*[_-]tests?|tests?[_-].*")
BENCHMARK = re.compile(r"(.*_)?bench(mark)?s?(_.*)?")
NO_PRODUCT = {
    *("docs", "doc", "examples", "example", "samples", "tools", "scripts", "steps", "features", "bench"),
    *("benchmarks", "benchmark", "setup", "conftest", "noxfile", "tasks", "fabfile", "environment", "ci"),
}
STEP_NAMES = {"given", "when", "then", "step", "Given", "When", "Then", "Step"}


@dataclass(frozen=True)
class NotRead:
    """A file that was not read, and why; `matters` where it could hold tests or the product."""

    file: str
    line: int
    says: str
    matters: bool


@dataclass(frozen=True, eq=False)
class Module:
    """One file. `role` is test, steps, product or support (everything else)."""

    file: str
    tree: ast.Module
    source: str
    role: str
    collected: bool = False  # pytest looks for tests in it; unittest looks in every file of the role test

    @cached_property
    def comments(self) -> dict[int, str]:
        """The comments by line."""
        found = {}
        try:
            for token in tokenize.generate_tokens(io.StringIO(self.source).readline):
                if token.type == tokenize.COMMENT:
                    found[token.start[0]] = token.string
        except (tokenize.TokenError, SyntaxError):
            pass  # ast could read it: what was found so far is right
        return found

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Every node."""
        return list(ast.walk(self.tree))

    @cached_property
    def parents(self) -> dict[ast.AST, ast.AST]:
        """The node around each node."""
        return {child: node for node in self.nodes for child in ast.iter_child_nodes(node)}

    @cached_property
    def imports(self) -> dict[str, str]:
        """The dotted name behind each name that is imported anywhere in the file."""
        found = {}
        package = ".".join(PurePosixPath(self.file).parts[:-1])
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    top = alias.name.split(".")[0]
                    found[alias.asname or top] = alias.name if alias.asname else top
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    around = package.split(".")[: len(package.split(".")) - node.level + 1]
                    base = ".".join([*filter(None, around), *filter(None, [base])])
                for alias in node.names:
                    found[alias.asname or alias.name] = f"{base}.{alias.name}" if base else alias.name
        return found

    def full(self, node: ast.AST) -> str:
        """Return the dotted name of an expression as its imports spell it out."""
        name = dotted(node)
        first, _, rest = name.partition(".")
        spelt = self.imports.get(first, first)
        return f"{spelt}.{rest}" if rest else spelt

    @cached_property
    def top(self) -> list[ast.stmt]:
        """The statements at the top, also those in an if or try."""
        return list(flat(self.tree.body))

    @cached_property
    def name(self) -> str:
        """The dotted name as an import spells it, from the top of the tree."""
        parts = list(PurePosixPath(self.file).with_suffix("").parts)
        parts = parts[1:] if parts[0] in ("src", "lib") and len(parts) > 1 else parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def flat(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Walk a list of statements, and into if and try, not into functions, classes and loops."""
    left = list(body)[::-1]  # a list of its own, not a call for each: an elif can have a thousand others
    while left:
        statement = left.pop()
        yield statement
        if isinstance(statement, ast.If):
            left += [*statement.body, *statement.orelse][::-1]
        elif isinstance(statement, ast.Try):
            handlers = [s for handler in statement.handlers for s in handler.body]
            left += [*statement.body, *handlers, *statement.orelse, *statement.finalbody][::-1]


def python_files(path: Path) -> list[Path]:
    """Return the Python files under a folder, without environments, caches and hidden folders."""
    if path.is_file():
        return [path]
    found = []
    for folder, folders, names in os.walk(path):
        here = Path(folder)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and name not in LEFT_OUT and not name.endswith(".egg-info")
            if not (here / name / "pyvenv.cfg").exists()
        )
        found += [here / n for n in sorted(names) if n.endswith(".py") and (here / n).is_file()]
    return found


def home(path: Path) -> Path:
    """Return the folder of the project that a path belongs to: the next one up with a project file."""
    start = path if path.is_dir() else path.parent
    for folder in [start, *start.parents]:
        if any((folder / n).exists() for n in ("pyproject.toml", "setup.py", "setup.cfg", ".git")):
            return folder
    return start


def product_names(project: Path) -> set[str]:
    """Return the names of the packages and modules that a project ships, as an import spells them."""
    packages, modules = set(), set()
    for place in (project, project / "src", project / "lib"):
        if not place.is_dir() or (place / "__init__.py").exists():
            continue
        for entry in sorted(place.iterdir()):
            name = entry.stem
            if not name.isidentifier() or name in NO_PRODUCT or TEST_FOLDER.fullmatch(name):
                continue
            if (entry / "__init__.py").is_file():
                packages.add(name)
            elif entry.suffix == ".py" and (place != project or not TEST_FILE.fullmatch(entry.name)):
                modules.add(name)
    return packages or modules  # beside a package, single files are scripts


def read(file: Path, name: str, products: set[str], settings: Settings) -> Module | NotRead:
    """Read one file; what does not parse is named with its line."""
    matters = is_test_file(name, settings) or is_product(name, products)
    try:
        with file.open("rb") as opened:
            raw = opened.read(MOST_BYTES + 1)
        if len(raw) > MOST_BYTES:
            return NotRead(name, 1, f"is longer than {MOST_BYTES:,} bytes", matters)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an odd escape is not ours to talk about
            tree = ast.parse(raw)
        coding, _ = tokenize.detect_encoding(io.BytesIO(raw).readline)
        source = raw.decode(coding)
    except SyntaxError as error:
        return NotRead(name, error.lineno or 1, f"is no Python of this version: {error.msg}", matters)
    except OSError as error:
        return NotRead(name, 1, f"cannot be opened: {error.strerror}", matters)
    except (ValueError, LookupError) as error:
        return NotRead(name, 1, f"is no text: {error}", matters)
    except (RecursionError, MemoryError):
        return NotRead(name, 1, "is nested too deeply to be read", matters)
    return Module(name, tree, source, role(name, tree, products, settings), settings.is_file(name))


def role(name: str, tree: ast.Module, products: set[str], settings: Settings) -> str:
    """Return what a file holds."""
    if has_steps(tree):
        return "steps"
    if is_test_file(name, settings):
        return "test"
    return "product" if is_product(name, products) else "support"


def is_test_file(name: str, settings: Settings) -> bool:
    """Tell whether pytest or unittest looks for tests in a file of that name."""
    path = PurePosixPath(name)
    if any(BENCHMARK.fullmatch(part) for part in [*path.parts[:-1], path.stem]):
        return False  # it measures
    if settings.leaves_out(name):
        return False
    if TEST_FILE.fullmatch(path.name) or settings.is_file(name):
        return True
    in_folder = any(part in ("test", "tests") for part in path.parts[:-1])
    return in_folder and path.name.startswith("test")


def is_product(name: str, products: set[str]) -> bool:
    """Tell whether a file belongs to the product; what is about testing does not."""
    path = PurePosixPath(name)
    parts = [*path.parts[:-1], path.stem]
    parts = parts[1:] if parts[0] in ("src", "lib") and len(parts) > 1 else parts
    return parts[0] in products and not any("test" in part for part in parts)


def has_steps(tree: ast.Module) -> bool:
    """Tell whether a file holds steps of behave."""
    imports = any(
        (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("behave", "pytest_bdd"))
        or (
            isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "behave" for alias in node.names)
        )
        for node in flat(tree.body)
    )
    return imports and any(step_words(node) for node in flat(tree.body))


def step_words(node: ast.AST) -> list[tuple[str, str, ast.expr]]:
    """Return the given, when, then and step of a function: the word, the sentence, the decorator."""
    if not isinstance(node, FUNCTIONS):
        return []
    return [
        (last(d.func).lower(), text(d.args[0]) or _inner_text(d.args[0]), d)
        for d in node.decorator_list
        if isinstance(d, ast.Call) and d.args and last(d.func) in STEP_NAMES
    ]


def _inner_text(node: ast.expr) -> str:
    if isinstance(node, ast.Call) and node.args:
        return text(node.args[0])
    return ""
