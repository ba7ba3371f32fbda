"""Functions of Rust, by its syntax tree: lizard loses its way in trait declarations and literals of bytes.

    python3 -m llorch_core.postmortem.structure.rust FILE...

prints them as `lizard --csv` does, as far as it can.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# what lizard counts in Rust, where it finds its way
BRANCHES = """
(function_item) @function
(match_block) @match
[(if_expression) (while_expression) (for_expression) (try_expression) (match_arm)] @branch
(let_declaration alternative: (_)) @branch
(binary_expression operator: ["&&" "||"]) @branch
(let_chain "&&" @branch)
"""


@dataclass(frozen=True)
class Function:
    """A function. `lines` counts from its first line to its last, complexity is cyclomatic."""

    name: str
    line: int
    lines: int
    complexity: int


def functions(content: bytes) -> Iterator[Function]:
    """Give the functions of a Rust file that have a body; branches of a closure are those of its function."""
    import tree_sitter_rust
    from tree_sitter import Language, Node, Parser, Query, QueryCursor

    language = Language(tree_sitter_rust.language())
    found = QueryCursor(Query(language, BRANCHES)).captures(Parser(language).parse(content).root_node)
    count = {node.start_byte: 1 for node in found.get("function", [])}
    events = sorted(
        ((node.start_byte, node.end_byte, kind, node) for kind in found for node in found[kind]),
        key=lambda event: (event[0], event[2] != "function"),
    )
    around: list[Node] = []
    for begin, _, kind, node in events:
        while around and around[-1].end_byte <= begin:
            around.pop()
        if kind == "function":
            around.append(node)
        elif around and kind == "branch":
            count[around[-1].start_byte] += 1
        elif around and node.named_child_count:  # the first arm of a match is no branch
            count[around[-1].start_byte] -= 1
    for node in sorted(found.get("function", []), key=lambda node: node.start_byte):
        name = node.child_by_field_name("name")
        first, last = node.start_point[0], node.end_point[0]
        text = name.text if name is not None else None
        yield Function((text or b"?").decode(), first + 1, last - first + 1, count[node.start_byte])


def main(*files: str) -> None:
    """Print the functions of files: a count that we do not take as 0, complexity, ..., as lizard does."""
    for file in files:
        for f in functions(Path(file).read_bytes()):
            place = f'"{f.name}@{f.line}-{f.line + f.lines - 1}@{file}"'
            ends = f"{f.line},{f.line + f.lines - 1}"
            sys.stdout.write(
                f'0,{f.complexity},0,0,{f.lines},{place},"{file}","{f.name}","{f.name}",{ends}\n'
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
