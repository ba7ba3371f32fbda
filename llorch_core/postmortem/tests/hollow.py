"""Judge the body of a test by its tokens: does it check anything, and can the check fail?"""

from __future__ import annotations

import re

from llorch_core.postmortem.tests.bodies import OWN_TYPES, Body, Call
from llorch_core.postmortem.tests.lost_checks import drops, is_silent, swallows
from llorch_core.postmortem.tests.tokens import TEXT, WORD
from llorch_core.postmortem.tests.words import MARKED_TEXT, MARKS, TODO

SHORT = 60
MAKING = {
    "=",
    ":=",
    ":",
    ";",
    "{",
    "[",
    "in",
    ",",
    ")",
    "|",
}  # what follows the name of a variable where it is made
OWN_WORDS = {
    "true",
    "false",
    "nil",
    "null",
    "nullptr",
    "undefined",
    "t",
    "as",
    "mut",
    "usize",
    "u8",
    "f32",
    "i32",
}


def judge(body: Body) -> tuple[str, str]:
    """Return the kind of KINDS that a test is, and a detail; ("", "") where it is right, or none can tell."""
    todo = next((r for r in body.remarks if TODO.search(r)), "")
    if not body.code and body.source.broken and spans_lines(body):
        return "", ""
    if not body.code:
        return ("", "") if body.demands and not todo else ("stub", shown(todo)) if todo else ("empty", "")
    if body.demands:
        return "", ""
    if is_unwritten(body):
        return "unwritten", shown(todo)
    if body.source.broken and may_check(body):
        return "", ""
    swallowed = swallows(body)
    if swallowed:
        return "swallowed", swallowed
    if body.real or throws(body):
        return with_checks(body)
    if body.runs or body.names_a_type:  # that they are there is checked by the compiler
        dropped = drops(body)
        constant = f"; {shown_call(body, body.checks[0])}" if body.checks else ""
        return ("dropped error", dropped) if dropped else ("only runs", shown_runs(body) + constant)
    if body.checks:
        return "constant", shown_call(body, body.checks[0])
    return ("stub", shown(todo)) if todo or marks(body) else ("no check", "")


def spans_lines(body: Body) -> bool:
    """Return whether a body has more lines than its comments, so that text of it may be lost."""
    code, places = body.source.code, body.places
    if places.stop not in body.source.partner:
        return True
    first, last = code[places.start - 1].line, code[places.stop].line
    return last - first - 1 > sum(
        c.text.count("\n") + 1 for c in body.source.comments if first < c.line < last
    )


def may_check(body: Body) -> bool:
    """Return whether text that the grammar did not understand may hold a check."""
    named = (t.text for t in body.code if t.kind == WORD or len(t.text) > 40)
    return not body.checks and any(re.search(body.words.checks, text) for text in named)


def with_checks(body: Body) -> tuple[str, str]:
    """Judge a test that has a check which can fail."""
    mark = marks(body)
    if mark:
        return "marked", mark
    silent = is_silent(body)
    if silent:
        return "silent", silent
    own = all(body.words.own.fullmatch(c.name) for c in body.real)
    if own and not body.runs and not body.names_a_type and not throws(body) and only_local(body):
        return "calls nothing", ""
    return "", ""


def only_local(body: Body) -> bool:
    """Return whether every word in the checks is one that the test wrote down before."""
    inside = {i for c in body.real for i in body.source.inside(c.opening)}
    code = body.source.code
    made = {
        code[i].text
        for i in body.places
        if i not in inside and code[i].kind == WORD and code[i + 1].text in MAKING
    }
    used = [
        i
        for i in inside
        if code[i].kind == WORD and code[i - 1].text != "." and code[i + 1].text not in ("(", "!", "::")
    ]
    return all(code[i].text in made | OWN_WORDS | OWN_TYPES for i in used)


def marks(body: Body) -> str:
    """Return how a test announces that it is a stub."""
    called = next((c.name for c in body.calls if MARKS.fullmatch(c.name.rpartition(".")[2])), "")
    return called or shown(
        next((t.text for t in body.code if t.kind == TEXT and MARKED_TEXT.search(t.text)), "")
    )


def throws(body: Body) -> bool:
    """Return whether a test can fail by a statement of the language: throw, return Err."""
    if body.source.language == "Rust":
        return any(
            a.text == "return" and b.text == "Err" for a, b in zip(body.code, body.code[1:], strict=False)
        )
    return any(t.text == "throw" for t in body.code)


def is_unwritten(body: Body) -> bool:
    """Return whether all that a test does is to fail, saying that it is still to be written."""
    failing = [c for c in body.calls if is_refusal(body, c)]
    if body.code[0].text == "throw":
        return any(TODO.search(t.text) for t in body.code) and not body.source.is_(body.places.stop - 1, "}")
    return bool(failing) and all(c in failing or body.tells_nothing(c) for c in body.calls)


def is_refusal(body: Body, call: Call) -> bool:
    """Return whether a call fails always because something is not written yet."""
    last = call.name.rpartition(".")[2]
    if last in ("todo", "unimplemented"):
        return body.source.language == "Rust"
    if last not in ("panic", "FAIL", "ADD_FAILURE", "Fatal", "Fatalf", "Error", "Errorf", "fail", "FailNow"):
        return False
    return body.is_check(call) and any(t.kind == TEXT and TODO.search(t.text) for t in body.code)


def shown(text: str) -> str:
    """Return a text in one short line."""
    line = " ".join(text.split())
    return line if len(line) <= SHORT else f"{line[:SHORT]} …"


def shown_call(body: Body, call: Call) -> str:
    """Return a call as it is written, in one short line."""
    end = body.source.partner.get(call.opening, call.opening)
    return shown("".join(t.text for t in body.source.code[call.at : end + 1]))


def shown_runs(body: Body) -> str:
    """Return what a test runs, in one short line."""
    return shown(", ".join(dict.fromkeys(c.name.removeprefix("_.") for c in body.runs)))
