"""Checks whose outcome stands in the source: literals, a thing and itself, a length below 0."""

from __future__ import annotations

from collections.abc import Sequence

from llorch_core.postmortem.tests.tokens import NUMBER, SIGN, TEXT, Token
from llorch_core.postmortem.tests.words import ABOUT_EQUALITY

TRUTHS = {"true": True, "false": False}
NOTHING = {"nil", "null", "nullptr", "undefined", "NULL"}
OPERATORS = ("==", "===", "!=", "!==", "<", ">", "<=", ">=")
PLAIN = {".", "::", "->", "&", "*", "[", "]"}


def split(tokens: Sequence[Token], *signs: str) -> list[list[Token]]:
    """Split tokens at signs that stand in no bracket."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        if token.kind == SIGN and token.text in signs and not depth:
            parts.append([])
            continue
        depth += (token.text in "([{") - (token.text in ")]}") if token.kind == SIGN else 0
        parts[-1].append(token)
    return parts


def truth(tokens: Sequence[Token], about: str) -> bool | None:
    """Return what an expression is whatever happens, or None where that depends on something.

    `about` is the name of the test: one about equality has to ask how a thing compares with itself.
    """
    tokens = bare(tokens)
    either = split(tokens, "||")
    if len(either) > 1:
        values = [truth(part, about) for part in either]
        return True if True in values or is_either(either) else None if None in values else False
    both = split(tokens, "&&")
    if len(both) > 1:
        values = [truth(part, about) for part in both]
        return False if False in values else None if None in values else True
    if tokens and tokens[0].text == "!":
        value = truth(tokens[1:], about)
        return None if value is None else not value
    for operator in OPERATORS:
        sides = split(tokens, operator)
        if len(sides) == 2:
            return compared(sides[0], operator, sides[1], about)
    return TRUTHS.get(tokens[0].text) if len(tokens) == 1 else None


def bare(tokens: Sequence[Token]) -> Sequence[Token]:
    """Return an expression without the brackets around all of it."""
    while len(tokens) > 2 and tokens[0].text == "(" and tokens[-1].text == ")":
        inner = tokens[1:-1]
        depth = 0
        for token in inner:
            depth += (token.text in "([{") - (token.text in ")]}") if token.kind == SIGN else 0
            if depth < 0:
                return tokens
        tokens = inner
    return tokens


def compared(left: Sequence[Token], operator: str, right: Sequence[Token], about: str) -> bool | None:
    """Return what a comparison is whatever happens, or None."""
    left, right = bare(left), bare(right)
    if is_length(left) and operator == ">=" and [t.text for t in right] == ["0"]:
        return True
    equal = alike(left, right, about)
    if equal is None:
        return None
    if operator in ("==", "==="):
        return equal
    if operator in ("!=", "!=="):
        return not equal
    return equal and operator in ("<=", ">=") if equal else None


def alike(left: Sequence[Token], right: Sequence[Token], about: str) -> bool | None:
    """Return whether two values are equal whatever happens, or None where nobody can tell."""
    a, b = ([t.text for t in side] for side in (left, right))
    if is_literal(left) and is_literal(right):
        return a == b
    plain = all(t.kind != SIGN or t.text in PLAIN for t in left) and any(t.kind not in (SIGN,) for t in left)
    return True if a == b and plain and not ABOUT_EQUALITY.search(about) else None


def is_literal(tokens: Sequence[Token]) -> bool:
    """Return whether an expression is one literal."""
    tokens = tokens[1:] if tokens and tokens[0].text in ("-", "&") else tokens
    if len(tokens) != 1:
        return False
    return tokens[0].kind in (NUMBER, TEXT) or tokens[0].text in TRUTHS or tokens[0].text in NOTHING


def is_length(tokens: Sequence[Token]) -> bool:
    """Return whether an expression is a length: x.len(), x.size(), len(x), x.length."""
    texts = [t.text for t in tokens]
    return texts[-4:] in (
        [".", "len", "(", ")"],
        [".", "size", "(", ")"],
        [".", "count", "(", ")"],
    ) or (texts[:2] == ["len", "("] or texts[-2:] == [".", "length"])


def is_either(parts: Sequence[Sequence[Token]]) -> bool:
    """Return whether two alternatives leave nothing out: x.is_ok() || x.is_err(), x || !x."""
    if len(parts) != 2:
        return False
    a, b = ([t.text for t in bare(part)] for part in parts)
    for one, other in (("is_ok", "is_err"), ("is_some", "is_none")):
        if {*a[-3:-2], *b[-3:-2]} == {one, other} and a[:-3] == b[:-3] and "(" not in a[:-3]:
            return True
    return a == ["!", *b] or b == ["!", *a]
