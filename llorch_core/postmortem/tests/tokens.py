"""Source text as tokens: words, literals and signs, without comments, with the bracket that closes each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

GRAMMARS = {
    "Rust": "tree_sitter_rust",
    "C++": "tree_sitter_cpp",
    "Go": "tree_sitter_go",
    "JavaScript": "tree_sitter_javascript",
}
# what is one token, whatever stands in it
TEXTS = {
    *("string", "string_literal", "raw_string_literal", "char_literal", "interpreted_string_literal"),
    *("rune_literal", "template_string", "regex", "system_lib_string", "preproc_arg", "concatenated_string"),
}
COMMENTS = {"comment", "line_comment", "block_comment", "hash_bang_line", "html_comment"}
NUMBERS = {"integer_literal", "float_literal", "number_literal", "int_literal", "number"}
OPENING, CLOSING = {"(": ")", "[": "]", "{": "}"}, {")", "]", "}"}
WORD, TEXT, NUMBER, SIGN = "word", "text", "number", "sign"


class Token(NamedTuple):
    """A word, text (also of a character), number or sign, and its line, from 1."""

    kind: str
    text: str
    line: int


@dataclass(frozen=True)
class Source:
    """A file as tokens. `partner` leads from each opening bracket to the one that closes it, and back.

    `broken` says that the grammar did not understand all of it: macros, CUDA, types of TypeScript.
    """

    path: str
    language: str
    code: Sequence[Token]
    comments: Sequence[Token]
    broken: bool
    partner: dict[int, int] = field(default_factory=dict)

    def is_(self, at: int, *texts: str) -> bool:
        """Return whether these tokens stand one after the other at a place."""
        if not 0 <= at <= len(self.code) - len(texts) or self.code[at].text != texts[0]:
            return False
        return len(texts) == 1 or all(self.code[at + i].text == text for i, text in enumerate(texts))

    @cached_property
    def index(self) -> dict[str, list[int]]:
        """The places of each text."""
        found: dict[str, list[int]] = {}
        for at, token in enumerate(self.code):
            found.setdefault(token.text, []).append(at)
        return found

    def places(self, text: str) -> list[int]:
        """Return the places where a text stands."""
        return self.index.get(text, [])

    def inside(self, opening: int) -> range:
        """Return the places between a bracket and its partner; nothing where it has none."""
        return range(opening + 1, self.partner.get(opening, opening + 1))


@cache
def parser(language: str) -> Parser:
    """Return the parser of a language."""
    from tree_sitter import Language, Parser

    return Parser(Language(import_module(GRAMMARS[language]).language()))


def read(path: str, language: str, data: bytes) -> Source:
    """Read a file. Bytes that are no UTF-8 are replaced; what the grammar does not know stays as tokens."""
    root = parser(language).parse(data).root_node
    code, comments = [], []
    for node in leaves(root):
        text = data[node.start_byte : node.end_byte].decode(errors="replace")
        token = Token(kind_of(node.type, text), text, node.start_point[0] + 1)
        if node.type in COMMENTS:
            comments.append(token)
        elif text:
            code.append(token)
    return Source(path, language, code, comments, root.has_error, partners(code))


def leaves(root: Node) -> Iterator[Node]:
    """Walk over the nodes that are tokens, in the order of the text."""
    cursor = root.walk()
    while True:
        node = cursor.node
        assert node is not None
        whole = node.type in TEXTS or node.type in COMMENTS
        if whole or not node.child_count:
            yield node
        if not whole and cursor.goto_first_child():
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return


def kind_of(node: str, text: str) -> str:
    """Return the kind of a token by the name that the grammar gives it."""
    if node in TEXTS or node == "jsx_text":
        return TEXT
    if node in NUMBERS:
        return NUMBER
    return WORD if text[:1].isalpha() or text[:1] in ("_", "$") else SIGN


def partners(code: Sequence[Token]) -> dict[int, int]:
    """Pair the brackets. One without a partner, as broken text has them, ends with what is around it."""
    found: dict[int, int] = {}
    opened: list[int] = []
    for at, token in enumerate(code):
        if token.kind != SIGN:
            continue
        if token.text in OPENING:
            opened.append(at)
        elif token.text in CLOSING:
            fits = [i for i in opened if OPENING[code[i].text] == token.text]
            if fits:
                while opened and opened[-1] >= fits[-1]:
                    last = opened.pop()
                found[last], found[at] = at, last
    return found
