"""The body of a test: what it calls, which of the calls check something, and which may be of the product."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from llorch_core.postmortem.tests.constant_checks import alike, split, truth
from llorch_core.postmortem.tests.tokens import OPENING, TEXT, WORD, Source, Token
from llorch_core.postmortem.tests.words import KEYWORDS, MARKS, WORDS, Words

# built into the language or its library, though their names begin with a capital as those of the product do
OWN_TYPES = {
    *(
        "Some",
        "None",
        "Ok",
        "Err",
        "Vec",
        "String",
        "HashMap",
        "HashSet",
        "Option",
        "Result",
        "Box",
        "Arc",
        "Rc",
    ),
    *("Path", "PathBuf", "Duration", "Instant", "Self", "Utc", "Timelike", "BTreeMap", "Default", "Mutex"),
    *("Array", "Object", "Math", "JSON", "Number", "Promise", "Map", "Set", "Date", "Error", "Symbol"),
}
OWN_SPACES = {"std", "core", "alloc", "self", "chrono"}


@dataclass(frozen=True)
class Call:
    """A call: `name` with what stands before its point as `a.b`, the place of the name and of its bracket."""

    name: str
    at: int
    opening: int


@dataclass(frozen=True)
class Body:
    """The tokens of a test between its brackets, and what is in them."""

    source: Source
    places: range
    name: str
    helpers: frozenset[str] = frozenset()  # functions of the tests that check something
    demands: bool = False  # the head of the test demands something: #[should_panic], a TearDown that checks
    extra: tuple[str, ...] = field(default=())  # texts beside the body that count as comments

    @property
    def words(self) -> Words:
        """The names of its language."""
        return WORDS[self.source.language]

    @cached_property
    def code(self) -> Sequence[Token]:
        """Its tokens."""
        return self.source.code[self.places.start : self.places.stop]

    @cached_property
    def calls(self) -> list[Call]:
        """Everything that it calls."""
        return list(calls(self.source, self.places))

    @cached_property
    def remarks(self) -> list[str]:
        """Its comments, and the texts in it."""
        if not self.places.start:
            return list(self.extra)
        first = self.source.code[self.places.start - 1].line
        last = self.source.code[self.places.stop].line if self.places.stop < len(self.source.code) else first
        comments = [c.text for c in self.source.comments if first <= c.line <= last]
        return [*self.extra, *comments, *(t.text for t in self.code if t.kind == TEXT)]

    @cached_property
    def checks(self) -> list[Call]:
        """The calls that check something, constant or not."""
        return [c for c in self.calls if self.is_check(c)]

    def is_check(self, call: Call) -> bool:
        """Return whether a call can fail the test by its name, or is of a helper that checks."""
        last = call.name.rpartition(".")[2]
        if self.words.no_check.fullmatch(call.name):
            return False
        named = self.words.checks.fullmatch(call.name) or self.words.checks.fullmatch(last)
        return (
            bool(named and not self.words.prints.fullmatch(call.name))
            or last in self.helpers
            or self.is_always(call)
        )

    def is_always(self, call: Call) -> bool:
        """Return whether a call is a check that passes always, by its name."""
        return bool(self.words.always.pattern and self.words.always.fullmatch(call.name))

    def arguments(self, call: Call) -> list[list[Token]]:
        """Return the arguments of a call."""
        code = self.source.code
        inside = self.source.inside(call.opening)
        return split(code[inside.start : inside.stop], ",")

    def is_constant(self, call: Call) -> bool:
        """Return whether a check passes whatever the product does."""
        if self.is_always(call):
            return True
        given = self.arguments(call)[self.words.skipped :]
        if call.name == "expect" and self.source.language == "JavaScript":
            return self.expects_nothing(call, given)
        if not given or not given[0]:
            return False
        if self.words.truths.fullmatch(call.name):
            return truth(given[0], self.name) is True
        if self.words.falsehoods.fullmatch(call.name):
            return truth(given[0], self.name) is False
        if self.words.pairs.fullmatch(call.name) and len(given) > 1:
            return alike(given[0], given[1], self.name) is True
        return False

    def expects_nothing(self, call: Call, given: list[list[Token]]) -> bool:
        """Return whether expect(a).toBe(b) passes always; without a matcher it checks nothing."""
        at = self.source.partner.get(call.opening, -1) + 1
        if not self.source.is_(at, "."):
            return True
        code = self.source.code
        matcher = code[at + 1].text
        wanted = self.source.inside(at + 2) if self.source.is_(at + 2, "(") else range(0)
        right = code[wanted.start : wanted.stop]
        if matcher in ("toBe", "toEqual", "toStrictEqual") and len(given) == 1:
            return alike(given[0], right, self.name) is True
        if matcher == "toBeTruthy":
            return truth(given[0], self.name) is True
        return matcher == "toBeFalsy" and truth(given[0], self.name) is False

    @cached_property
    def real(self) -> list[Call]:
        """The checks that can fail."""
        return [c for c in self.checks if not self.is_constant(c)]

    @cached_property
    def runs(self) -> list[Call]:
        """The calls that may be of the product: no check, no print, nothing of the language."""
        inside = {i for c in self.checks if self.is_constant(c) for i in self.source.inside(c.opening)}
        return [
            c for c in self.calls if c.at not in inside and c not in self.checks and not self.tells_nothing(c)
        ]

    def tells_nothing(self, call: Call) -> bool:
        """Return whether a call prints, is one of the language, or only marks the test."""
        last = call.name.rpartition(".")[2]
        words = self.words
        printing = words.prints.fullmatch(call.name) or words.prints.fullmatch(last)
        return bool(printing or words.harmless.fullmatch(call.name) or MARKS.fullmatch(last))

    @cached_property
    def names_a_type(self) -> bool:
        """Whether it names a type, constant or module that may be of the product."""
        local = {
            b.text for a, b in zip(self.code, self.code[1:], strict=False) if a.text in ("struct", "enum")
        }
        for i, token in enumerate(self.code):
            following = self.code[i + 1].text if i + 1 < len(self.code) else ""
            if token.kind != WORD or token.text in local or token.text in OWN_TYPES:
                continue
            if following == "::" and token.text not in OWN_SPACES:
                return True
            if token.text[0].isupper() and following not in ("(", "!"):
                return True
        return False


def calls(source: Source, places: range) -> Iterator[Call]:
    """Give the calls in a part of a file; a definition and a keyword are none."""
    code = source.code
    for at in places:
        token = code[at]
        method = at > 0 and code[at - 1].text in (".", "::", "->")  # assert.match, Cart::new
        if token.kind != WORD or (token.text in KEYWORDS and not method) or at + 1 >= places.stop:
            continue
        opening = after_types(source, at + 1)
        before = code[at - 1].text if at else ""
        if opening is None or before in ("fn", "func", "function"):
            continue
        yield Call(full_name(source, at), at, opening)


def after_types(source: Source, at: int) -> int | None:
    """Return the place of the bracket of a call, behind a macro's sign and what stands in angles."""
    code = source.code
    if source.language == "Rust" and source.is_(at, "!") and at + 1 < len(code):
        return at + 1 if code[at + 1].text in OPENING else None
    at += source.is_(at, "::", "<")
    if source.is_(at, "<"):
        depth = 0
        for i in range(at, min(at + 40, len(code))):
            text = code[i].text
            depth += text.count("<") - text.count(">") if set(text) <= {"<", ">"} else 0
            if not depth:
                at = i + 1
                break
            if text in (";", "{", "}", "&&", "||"):
                return None
        else:
            return None
    return at if source.is_(at, "(") else None


def full_name(source: Source, at: int) -> str:
    """Return the name of a call, with the word before its point; of a C++ variable the name of its type."""
    code = source.code
    name = code[at].text
    before = code[at - 1] if at else None
    if before is None:
        return name
    if before.text in (".", "::", "->", "?.") and at > 1 and code[at - 2].kind == WORD:
        return f"{code[at - 2].text}.{name}"
    if before.text in (".", "::", "->", "?."):
        return f"_.{name}"
    if source.language == "C++" and before.kind == WORD and before.text not in KEYWORDS:
        return before.text
    if source.language == "C++" and before.text == ">":
        back = next((i for i in range(at - 2, max(at - 40, 0), -1) if code[i].text == "<"), at)
        return code[back - 1].text
    return name
