"""The files of a new case: each says what to fill in, from its form, and holds an empty list."""

from __future__ import annotations

from pathlib import Path
from textwrap import wrap

from llorch_core.postmortem.judgement.forms import described, may_lack, of_kind, properties
from llorch_core.postmortem.judgement.judgement import KINDS

EVIDENCE = """\
# Evidence is a list of references, each of which `llorch postmortem check` opens:
#   - {commit: 1a2b3c4, path: src/till.py, line: 3, text: sum(prices)}   (or lines: [3, 5])
#   - {commit: 1a2b3c4, subject: all tests pass}
#   - {figure: history.commits}   or   {table: tests.cannot_fail, where: {file: tests/till.py}}
#   - {absent: a regular expression, commit: 1a2b3c4, path: src}
"""
FIGURES = "# A text may say {history.commits}: the report fills in what was measured.\n"
WIDTH = 110


def write_skeletons(folder: Path) -> None:
    """Write the files of a judgement that are not there yet. Raises OSError."""
    for kind in KINDS:
        file = folder / f"{kind}.yaml"
        if not file.exists():
            file.write_text(skeleton(kind), encoding="utf-8")


def skeleton(kind: str) -> str:
    """Return the file of a kind of entry, with a head that says what an entry holds."""
    head = [f"# {kind}.yaml: {of_kind(kind)}. docs/postmortem.md explains it.", "#"]
    names = properties(kind)
    wide = max(map(len, names)) + 1
    for n, name in enumerate(names):
        says = described(kind, name) + (" (may be left out)" if may_lack(kind, name) else "")
        before = f"# {'-' if n == 0 else ' '} {name + ':':{wide}} "
        lines = wrap(says, WIDTH, initial_indent=before, subsequent_indent=f"#{' ' * (len(before) - 1)}")
        head += lines
    tail = EVIDENCE if {"evidence", "claimed"} & names.keys() else ""
    return "\n".join(head) + f"\n#\n{tail}{FIGURES}{kind}: []\n"
