"""What a test tree holds: tests, steps, fixtures and helpers, and which of them check anything."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from llorch_core.stubs.settings import Settings
from llorch_core.stubs.syntax import FUNCTIONS, Function, dotted, inside, keyword, last, text, truth
from llorch_core.stubs.tree import Module, flat, step_words

WORD = (
    r"assert|check|verif|validat|expect|require|ensure|should|must|fail|raises|warns|compar|confirm|conform"
)
CHECKS = re.compile(
    rf"_*({WORD}|refus|reject|prove|match|equal|deny|eq_|ok_|ne_|is_true|is_false|test)", re.I
)
CHECKS_TOO = re.compile(
    rf"_({WORD}|equals?|same|test|match(es|_lines)?)(_|$)|_(assert|check|verif|validat|expect|compar)"
    r"|[a-z](Assert|Check|Verify|Equals?)"
)
CHECKING_METHODS = {
    "raise_for_status",
    "testmod",
    "testfile",
    "run_docstring_examples",
    "execute_steps",
    "run_test",
}
CHECKING_FIXTURES = re.compile(r"snapshot|regression|benchmark|approv|golden|recorder|cassette")
NO_TEST = {"scenario", "overload", "property", "contextmanager"}
PLAIN_DECORATORS = {
    *("staticmethod", "classmethod", "given", "example", "settings", "seed", "parameterized", "expand"),
    *("patch", "object", "dict", "multiple", "skip", "skipif", "skipIf", "skipUnless", "expectedFailure"),
    *("fixture", "override_settings", "asyncio_test", "timeout", "data", "unpack", "ddt", "given", "when"),
    *("then", "step", "Given", "When", "Then", "Step", "async_run_until_complete", "slow", "wraps"),
    *("inlineCallbacks", "gen_test", "freeze_time", "parametrize", "usefixtures", "skip_if", "tag"),
}


@dataclass(frozen=True, eq=False)
class Scope:
    """A function, and where it stands."""

    module: Module
    node: Function
    parents: tuple[ast.ClassDef, ...] = ()

    @property
    def name(self) -> str:
        """The qualified name within its file."""
        return ".".join([*(c.name for c in self.parents), self.node.name])


@dataclass(frozen=True, eq=False)
class Test(Scope):
    """What can fail or pass. `style` is pytest, unittest or behave; `word` is test or that of the step."""

    style: str = "pytest"
    word: str = "test"
    sentence: str = ""

    @property
    def name(self) -> str:
        """The qualified name; of a step its word and sentence."""
        return f"{self.word} {self.sentence or self.node.name}" if self.style == "behave" else super().name

    @property
    def must_check(self) -> bool:
        """Tests and then-steps must check something."""
        return self.word in ("test", "then")


@dataclass
class Suite:
    """Every module of a tree, and what is in them by name."""

    modules: list[Module]
    products: set[str]
    settings: Settings = field(default_factory=Settings)
    tests: list[Test] = field(default_factory=list)
    scopes: list[Scope] = field(default_factory=list)
    by_name: dict[str, list[Scope]] = field(default_factory=dict)
    classes: dict[str, list[tuple[Module, ast.ClassDef]]] = field(default_factory=dict)
    fixtures: dict[str, list[Scope]] = field(default_factory=dict)
    homes: dict[ast.ClassDef, Module] = field(default_factory=dict)
    _chains: dict[ast.ClassDef, list[ast.ClassDef]] = field(default_factory=dict)
    _known: dict[ast.AST, bool] = field(default_factory=dict)
    _nodes: dict[ast.AST, list[ast.AST]] = field(default_factory=dict)
    _raising: dict[ast.AST, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for module in self.modules:
            for node in module.nodes:
                if isinstance(node, ast.ClassDef):
                    self.classes.setdefault(node.name, []).append((module, node))
                    self.homes[node] = module
        for module in self.modules:
            for scope in functions(module):
                self.scopes.append(scope)
                self.by_name.setdefault(scope.node.name, []).append(scope)
                name = fixture_name(scope.node)
                if name:
                    self.fixtures.setdefault(name, []).append(scope)
                elif module.role in ("test", "steps"):
                    self.tests += self._tests(scope)

    def _tests(self, scope: Scope) -> Iterator[Test]:
        module, node, parents = scope.module, scope.node, scope.parents
        if module.role == "steps":
            for word, sentence, _ in step_words(node):
                yield Test(module, node, parents, "behave", word, sentence)
                return
        if any(last(bare(d)) in NO_TEST for d in node.decorator_list) or any(_is_false(c) for c in parents):
            return
        if parents and self.is_testcase(parents[-1]):
            if node.name.startswith("test"):
                yield Test(module, node, parents, "unittest")
        elif (
            module.collected
            and self.settings.is_function(node.name)
            and all(map(self._is_collected, parents))
        ):
            yield Test(module, node, parents)

    def _is_collected(self, node: ast.ClassDef) -> bool:
        return self.settings.is_class(node.name) and not _has_init(node)

    def is_testcase(self, node: ast.ClassDef) -> bool:
        """Tell whether a class is one of unittest, as far as the tree shows its bases."""
        return any(last(base).endswith("TestCase") for c in self.chain(node) for base in c.bases)

    def chain(self, node: ast.ClassDef) -> list[ast.ClassDef]:
        """Return a class and its base classes in the tree: those of the same file where it has some."""
        if node not in self._chains:
            found = [node]
            for each in found:  # it grows while it is walked
                for base in each.bases:
                    known = self.classes.get(last(base), [])
                    near = [c for module, c in known if module is self.homes[each]]
                    found += [c for c in near or [c for _, c in known] if c not in found]
            self._chains[node] = found
        return self._chains[node]

    # Checks

    def checks(self, scope: Scope) -> bool:
        """Tell whether a function can fail on purpose: by an assertion, or by a helper that asserts."""
        known = self._known.get(scope.node)
        if known is None:
            self._known[scope.node] = False  # while it is being asked: a helper that calls itself
            known = self._known[scope.node] = any(self.is_check(n, scope) for n in inside(scope.node))
        return known

    def check_nodes(self, scope: Scope) -> list[ast.AST]:
        """Return the checks of a function."""
        if scope.node not in self._nodes:
            self._nodes[scope.node] = [n for n in inside(scope.node) if self.is_check(n, scope)]
        return self._nodes[scope.node]

    def is_check(self, node: ast.AST, scope: Scope) -> bool:
        """Tell whether one node of a function is a check."""
        if isinstance(node, ast.Assert):
            return truth(node.test) is not True
        if isinstance(node, ast.Raise):
            return not (node.exc is not None and "Skip" in last(bare(node.exc)))
        if isinstance(node, ast.Call):
            if _is_true(keyword(node, "check")):
                return True
            given = [*node.args, *(k.value for k in node.keywords)]
            return self._names_a_check(node.func, scope) or any(self._hands_over(n, scope) for n in given)
        return isinstance(node, ast.Attribute) and node.attr.startswith("should")

    def _hands_over(self, node: ast.expr, scope: Scope) -> bool:
        """Tell whether an argument is a function that checks, such as the target of a thread."""
        if isinstance(node, ast.Attribute) and node.attr.startswith("assert"):
            return True
        helpers, certain = self.helpers(node, scope)
        return certain and any(self.checks(h) for h in helpers if h.module.role != "product")

    def _names_a_check(self, node: ast.expr, scope: Scope) -> bool:
        name = last(node)
        helpers, certain = self.helpers(node, scope)
        if any(self.checks(h) if h.module.role != "product" else self._raises_assertion(h) for h in helpers):
            return True
        if certain and all(h.module.role != "product" for h in helpers):
            return False
        if isinstance(node, ast.Attribute) and name in CHECKING_METHODS:
            return True
        return bool(CHECKS.match(name) or CHECKS_TOO.search(name)) and not name.startswith("test_")

    def _raises_assertion(self, scope: Scope) -> bool:
        """Tell whether a function of the product raises an error that pytest and behave count as failed."""
        known = self._raising.get(scope.node)
        if known is None:
            self._raising[scope.node] = False
            known = self._raising[scope.node] = any(
                (isinstance(n, ast.Raise) and n.exc is not None and self.is_assertion(last(bare(n.exc))))
                or (isinstance(n, ast.Call) and self._calls_assertion(n, scope))
                for n in inside(scope.node)
            )
        return known

    def _calls_assertion(self, call: ast.Call, scope: Scope) -> bool:
        helpers, certain = self.helpers(call.func, scope)
        return certain and any(self._raises_assertion(h) for h in helpers)

    def is_assertion(self, name: str, depth: int = 0) -> bool:
        if name == "AssertionError":
            return True
        bases = [last(b) for _, c in self.classes.get(name, []) for b in c.bases]
        return depth < 5 and any(self.is_assertion(b, depth + 1) for b in bases)

    def helpers(self, node: ast.expr, scope: Scope) -> tuple[list[Scope], bool]:
        """Return the functions of the tree that a name may mean, and whether it certainly means them."""
        name = last(node)
        known = self.by_name.get(name, [])
        if not known:
            return [], False
        if isinstance(node, ast.Name):
            own = [s for s in known if s.module is scope.module and not s.parents]
            if own:
                return own, True
            source = scope.module.imports.get(name, "")
            origin = source.rpartition(".")[0]
            if not origin:
                return [], False
            found = [s for s in known if not s.parents and _ends_alike(s.module.name, origin)]
            return found, bool(found)
        if dotted(node).startswith(("self.", "cls.")) and dotted(node).count(".") == 1 and scope.parents:
            chain = self.chain(scope.parents[-1])
            own = [s for s in known if s.parents and s.parents[-1] in chain]
            if own:
                return own[:1], True
        return known, False

    def overridden(self, test: Test) -> list[Scope]:
        """Return a method, and those of the same name in the base classes that the tree shows."""
        chain = self.chain(test.parents[-1]) if test.parents else []
        return [s for s in self.by_name[test.node.name] if s.parents and s.parents[-1] in chain]

    def checked_around(self, test: Test) -> bool:
        """Tell whether something around a test may check: decorator, fixture, tearDown."""
        for decorator in test.node.decorator_list:
            called = bare(decorator)
            name = last(called)
            if ".mark." in f".{dotted(called)}":
                if CHECKS.match(name) or CHECKS_TOO.search(name) or CHECKING_FIXTURES.search(name):
                    return True
            elif name not in PLAIN_DECORATORS:
                helpers, certain = self.helpers(called, test)
                if not certain or any(self.checks(h) for h in helpers):
                    return True
        for name in [*arguments(test.node), *used_fixtures(test.node)]:
            if CHECKING_FIXTURES.search(name) or any(self.checks(f) for f in self.fixtures.get(name, [])):
                return True
        classes = {c for parent in test.parents for c in self.chain(parent)}
        ends = {
            "tearDown",
            "asyncTearDown",
            "teardown_method",
            "tearDownClass",
            "teardown_class",
            "doCleanups",
        }
        return any(
            self.checks(s)
            for n in ends
            for s in self.by_name.get(n, [])
            if s.parents and s.parents[-1] in classes
        )


def functions(module: Module) -> Iterator[Scope]:
    """Walk the functions of a module and the methods of its classes; not functions in functions."""

    def walk(body: Iterable[ast.stmt], parents: tuple[ast.ClassDef, ...]) -> Iterator[Scope]:
        for node in flat(body):
            if isinstance(node, FUNCTIONS):
                yield Scope(module, node, parents)
            elif isinstance(node, ast.ClassDef):
                yield from walk(node.body, (*parents, node))

    return walk(module.tree.body, ())


def fixture_name(node: Function) -> str:
    """Return the name under which tests ask for a fixture; empty where it is none."""
    for decorator in node.decorator_list:
        if last(bare(decorator)) == "fixture":
            given = keyword(decorator, "name") if isinstance(decorator, ast.Call) else None
            return text(given) or node.name
    return ""


def arguments(node: Function) -> list[str]:
    """Return the names of the arguments, without self."""
    a = node.args
    return [x.arg for x in [*a.posonlyargs, *a.args, *a.kwonlyargs] if x.arg not in ("self", "cls")]


def used_fixtures(node: Function) -> list[str]:
    """Return the fixtures that a mark asks for."""
    marks = [d for d in node.decorator_list if isinstance(d, ast.Call) and last(d.func) == "usefixtures"]
    return [text(arg) for mark in marks for arg in mark.args]


def bare(node: ast.expr) -> ast.expr:
    """Return what is called, or the expression itself."""
    return node.func if isinstance(node, ast.Call) else node


def _ends_alike(name: str, imported: str) -> bool:
    return name == imported or name.endswith(f".{imported}") or imported.endswith(f".{name}")


def _is_true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def _is_false(node: ast.ClassDef, name: str = "__test__") -> bool:
    return any(
        isinstance(s, ast.Assign)
        and any(last(t) == name for t in s.targets)
        and isinstance(s.value, ast.Constant)
        and s.value.value is False
        for s in node.body
    )


def _has_init(node: ast.ClassDef) -> bool:
    return any(isinstance(s, FUNCTIONS) and s.name == "__init__" for s in node.body)
