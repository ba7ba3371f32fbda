"""Tests without a check: empty, still to be written, printing, only running; checks that are not reached."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from llorch_core.stubs.kinds import Finding
from llorch_core.stubs.suite import Suite, Test
from llorch_core.stubs.syntax import dotted, inside, is_nothing, last, root, statements, text, truth

TODO = re.compile(r"\b(TODO|FIXME|XXX|TBD)\b")
PLANNED = re.compile(
    r"not (yet )?implemented|(to be|will be) (written|implemented|done|added)|placeholder|\bstubs?\b"
    r"|^\W*(write|implement|fill) (me|this)|implement later",
    re.I,
)
HARMLESS = {
    *(
        "print",
        "len",
        "str",
        "repr",
        "int",
        "float",
        "bool",
        "list",
        "dict",
        "tuple",
        "set",
        "range",
        "sorted",
    ),
    *(
        "pprint",
        "min",
        "max",
        "sum",
        "abs",
        "round",
        "type",
        "format",
        "object",
        "sleep",
        "time",
        "perf_counter",
    ),
    *("enumerate", "zip"),
}
RUNS = re.compile(  # the test's name promises no more than that nothing is raised
    r"accept|smoke|runs?_|import|survive|no_?op|harmless|allowed|can_|tolerat|ignore"
    r"|no[t_](_?raise|_?error|_?exception|_?crash|_?warning|_?fail)|(doesnt|dont|not?)_(raise|fail|crash|error|warn)"
    r"|(^|_)valid(_|$)|(^|_)success|doesnt_mind"
    r"|without_(an_)?(error|exception|raising|warning|crash)",
    re.I,
)
RUNS_TEXT = re.compile(
    r"nothing happens|(does|do|must|should|will)(n't| not) (raise|fail|crash|error|warn|break)|accept|surviv"
    r"|\bno (error|exception|warning|crash)|without (an? )?(error|exception|raising|crash)"
    r"|raises? .* on failure",
    re.I,
)
LOGS = {"debug", "info", "warning", "log", "warn", "critical", "exception"}
LOGGERS = {"log", "logger", "logging", "LOG", "LOGGER", "_log", "_logger"}
TALK = {
    "time.sleep",
    "time.time",
    "time.perf_counter",
    "sys.stdout.write",
    "sys.stderr.write",
    "sys.stdout.flush",
}
MACHINE = re.compile(
    r"environ|getenv|exists|is_file|is_dir|isfile|isdir|which|platform|is_available|has_|have_|find_spec|os\.name",
    re.I,
)


def judge(suite: Suite, test: Test) -> Iterator[Finding]:
    """Judge a test as a whole."""
    body = statements(test.node)
    if not test.must_check:
        if all(is_nothing(s) for s in body) and test.word in ("given", "when"):
            yield _found(test, test.node, "does nothing", "the step has no statement")
        return
    if suite.checks(test):
        yield from _unreached(suite, test)
        yield from _silent(suite, test)
        return
    if any(isinstance(n, ast.Yield | ast.YieldFrom) for n in inside(test.node)) or suite.checked_around(test):
        return
    if test.style != "behave" and _returns_more(test):
        return  # it is called for what it returns: a function of that name, and no test
    if test.style != "behave" and _returns_comparison(test):
        yield _found(
            test, test.node, "dropped", "the test returns its comparison, and pytest looks at no result"
        )
    elif _says_todo(test) and all(is_nothing(s) or harmless(s) for s in body):
        yield _found(test, test.node, "todo", f"it says {_says_todo(test)!r}, and checks nothing")
    elif all(is_nothing(s) for s in body):
        if not _switches_off(suite, test) and not RUNS_TEXT.search(test.sentence):
            yield _found(test, test.node, "empty", "it has no statement")
    elif all(harmless(s) for s in body):
        yield _found(test, test.node, "no check", "it prints or builds something, and checks nothing")
    elif test.word == "then" and _calls_only_own(suite, test):
        yield _found(
            test, test.node, "no check", "neither it nor a function of its own that it calls checks anything"
        )
    elif not RUNS.search(test.node.name) and not any(map(RUNS_TEXT.search, _words(test))):
        yield _found(test, test.node, "only runs", "nothing looks at what the code gives")


def _found(test: Test, node: ast.AST, kind: str, says: str) -> Finding:
    return Finding(test.module.file, getattr(node, "lineno", 0), kind, test.name, says)


def _says_todo(test: Test) -> str:
    """Return what a test says about being unfinished: in a comment, a docstring, or what it prints."""
    for words in _words(test):
        if TODO.search(words) or PLANNED.search(words):
            return " ".join(words.split())[:60]
    return ""


def _words(test: Test) -> list[str]:
    """Return the comments and strings of a test."""
    first, end = test.node.lineno, test.node.end_lineno or test.node.lineno
    said = [c.lstrip("# ") for line, c in test.module.comments.items() if first <= line <= end]
    return said + [text(n) for n in inside(test.node) if text(n)]


def _switches_off(suite: Suite, test: Test) -> bool:
    """Tell whether an empty method stands in the place of one that a base class has, which runs there."""
    if len(suite.overridden(test)) > 1:
        return True
    bases = [b for c in test.parents for b in c.bases]
    return any(last(b) not in suite.classes and not last(b).endswith("TestCase") for b in bases)


def _returns_comparison(test: Test) -> bool:
    final = test.node.body[-1]
    return isinstance(final, ast.Return) and isinstance(final.value, ast.Compare)


def _returns_more(test: Test) -> bool:
    values = [n.value for n in inside(test.node) if isinstance(n, ast.Return) and n.value is not None]
    return any(not isinstance(value, ast.Compare | ast.Constant) for value in values)


def harmless(statement: ast.stmt) -> bool:
    """Tell whether a statement can hardly raise: it prints, logs, waits, or builds plain values."""
    match statement:
        case ast.Expr(value=value) | ast.Assign(value=value) | ast.Return(value=value):
            return value is None or _plain(value)
        case ast.AnnAssign(value=value):
            return value is None or _plain(value)
        case ast.AugAssign(value=value):
            return _plain(value)
        case ast.If(test=test, body=body, orelse=orelse):
            return _plain(test) and all(map(harmless, [*body, *orelse]))
        case ast.For(iter=over, body=body, orelse=orelse):
            return _plain(over) and all(map(harmless, [*body, *orelse]))
    return isinstance(statement, ast.Pass | ast.Break | ast.Continue)


def _plain(node: ast.expr) -> bool:
    for part in ast.walk(node):
        match part:
            case ast.Call(func=ast.Name(id=name)):
                if name not in HARMLESS:
                    return False
            case ast.Call(func=func):
                if dotted(func) not in TALK and not _logs(func):
                    return False
            case ast.Await() | ast.Yield() | ast.YieldFrom() | ast.Lambda():
                return False
            case ast.Attribute() | ast.Subscript():
                if root(part) not in ("self", "context", "sys", "time", *LOGGERS):
                    return False
    return True


def _logs(func: ast.expr) -> bool:
    return last(func) in LOGS and bool({*dotted(func).split(".")} & LOGGERS)


def _calls_only_own(suite: Suite, test: Test) -> bool:
    """Tell whether a step calls nothing but functions that stand in the steps themselves."""
    calls = [n for n in inside(test.node) if isinstance(n, ast.Call) and last(n.func) not in HARMLESS]
    for call in calls:
        helpers, certain = suite.helpers(call.func, test)
        if not certain or any(h.module.role == "product" for h in helpers):
            return False
    return bool(calls)


def _unreached(suite: Suite, test: Test) -> Iterator[Finding]:
    """Find the checks of a test that do not run."""
    checks = set(suite.check_nodes(test))
    for node in inside(test.node):
        says, dead = _dead(node)
        check = next((n for s in dead for n in ast.walk(s) if n in checks), None)
        if check is not None:
            yield _found(test, check, "never reached", says)
    for i, statement in enumerate(test.node.body):
        if isinstance(statement, ast.Return):
            rest = test.node.body[i + 1 :]
            check = next((n for s in rest for n in ast.walk(s) if n in checks), None)
            if check is not None:
                yield _found(
                    test, check, "never reached", f"the return in line {statement.lineno} stands before it"
                )


def _dead(node: ast.AST) -> tuple[str, list[ast.stmt]]:
    if isinstance(node, ast.If | ast.While) and truth(node.test) is False:
        return f"the condition in line {node.lineno} is never true", node.body
    if isinstance(node, ast.For) and truth(node.iter) is False:
        return f"the loop in line {node.lineno} goes over nothing", node.body
    return "", []


def _silent(suite: Suite, test: Test) -> Iterator[Finding]:
    """Find a return before the first check, where the machine lacks something."""
    checks = set(suite.check_nodes(test))
    for statement in test.node.body:
        if (
            isinstance(statement, ast.If)
            and not statement.orelse
            and MACHINE.search(ast.unparse(statement.test))
        ):
            final = statement.body[-1]
            if isinstance(final, ast.Return) and final.value is None and all(map(harmless, statement.body)):
                says = "it passes without a check where this condition holds"
                yield _found(test, statement, "silent return", says)
                return
        if not checks.isdisjoint(ast.walk(statement)):
            return
