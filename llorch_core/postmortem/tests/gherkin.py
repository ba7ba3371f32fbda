"""Scenarios in Gherkin: those without steps, and those with a step that nothing defines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from llorch_core.postmortem.tests.kinds import BDD, Test

HEAD = re.compile(r"\s*(Scenario Outline|Scenario Template|Scenario|Example):\s*(.*)")
OTHER = re.compile(r"\s*(Feature|Rule|Background|Examples|Scenarios):")
STEP = re.compile(r"\s*(?:Given|When|Then|And|But|\*)\s+(.*\S)")
TAGS = re.compile(r"\s*@")
IGNORED = re.compile(r"@(skip|ignore|ignored|wip|todo|pending|disabled)\b", re.I)
DEFINED = re.compile(  # @given("…"), #[when(regex = r"…")], Then('…', ctx.Step(`…`
    r"(?:@|#\[|\b|\.)(?i:given|when|then|and|but|step|define_?step)\s*\(\s*"
    r"(?:(?:regex|expr)\s*=\s*)?(?:parsers?\.\w+\(\s*|re\.compile\(\s*)?[urbf]*(#*)"
    r"(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|`[^`]*`|/(?:[^/\\\n]|\\.)+/)"
)
READ = (".py", ".rs", ".js", ".ts", ".mjs", ".cjs", ".go")
NOT_READ = (".rb", ".java", ".kt", ".cs", ".php", ".groovy", ".scala", ".cpp", ".cc")
EXPRESSION = re.compile(r"\\[dwSs]|\(\.|\(\?|\^|\$$")
HOLE = r"\{[^{}]*\}|<[^<>]*>"


def find(contents: Mapping[str, bytes]) -> Iterator[Test]:
    """Give the scenarios of feature files; `contents` are all files that may define steps, too."""
    features = {name: data for name, data in contents.items() if name.endswith(".feature")}
    defined = definitions(contents) if features else None
    for name, data in features.items():
        lines = data.decode(errors="replace").splitlines()
        if not any(line.strip().startswith("# language:") and "en" not in line for line in lines[:3]):
            yield from of_file(name, lines, defined)


def definitions(contents: Mapping[str, bytes]) -> list[re.Pattern[str]] | None:
    """Return the steps that are defined, as patterns; None where that cannot be told."""
    if any(name.endswith(NOT_READ) and "step" in name.lower() for name in contents):
        return None
    found = []
    for name, data in contents.items():
        if name.endswith(READ):
            for match in DEFINED.finditer(data.decode(errors="replace")):
                found += patterns(match[2])
    return found or None


def patterns(literal: str) -> list[re.Pattern[str]]:
    """Return the text of a definition as patterns: as words with holes in braces, and as an expression."""
    text = literal[1:-1]
    parts = re.split(rf"{HOLE}|\([^()]*\)|\S+/\S+", text)
    found = [re.compile(f"^{'.*'.join(re.escape(part) for part in parts)}$", re.I)]
    try:
        whole = re.sub(r"(?<!\\)\{\w*[a-zA-Z]\w*\}", ".*", text.replace("\\\\", "\\"))
        return [*found, re.compile(whole, re.I)]
    except re.error:
        return [*found, re.compile(".*")] if EXPRESSION.search(text) else found


def of_file(name: str, lines: list[str], defined: list[re.Pattern[str]] | None) -> Iterator[Test]:
    """Give the scenarios of one file."""
    tags, whole, outline, background = "", "", False, False
    current: list[str] | None = None
    head: Test | None = None
    quoted = False
    for number, line in enumerate(lines, 1):
        if line.strip().startswith(('"""', "```")):
            quoted = not quoted
        scenario, step = HEAD.fullmatch(line), STEP.fullmatch(line)
        if quoted or line.strip().startswith("#") or not line.strip():
            continue
        if scenario and not (outline and scenario[1] == "Examples"):
            if head is not None:
                yield judged(head, current or [], defined)
            outline = scenario[1] not in ("Scenario", "Example")
            ignored = bool(IGNORED.search(tags + whole))
            head = Test(name, number, scenario[2], "gherkin", BDD, number, ignored)
            current, tags, background = [], "", False
        elif OTHER.match(line):
            background = "Background" in line
            if "Feature" in line:
                whole = tags
            tags = ""
        elif TAGS.match(line):
            tags += line
        elif step and current is not None and head is not None and not background:
            current.append(step[1])
            head = Test(**{**vars(head), "last": number})
    if head is not None:
        yield judged(head, current or [], defined)


def judged(test: Test, steps: list[str], defined: list[re.Pattern[str]] | None) -> Test:
    """Return a scenario with what is wrong with it."""
    if not steps:
        return test.blamed("empty", "it has no step")
    if defined is None:
        return test
    for step in steps:
        filled = re.sub(r"<[^<>]*>", "1", step)
        if not any(d.search(text) for d in defined for text in (step, filled, quoted(step))):
            return Test(**{**vars(test), "gone": f"the step {step!r} is not defined"})
    return test


def quoted(step: str) -> str:
    """Return a step with the values of its outline as words in quotes."""
    return re.sub(r"<[^<>]*>", '"x"', step)
