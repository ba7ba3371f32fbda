"""Patches: every line that a commit added or removed below the path, read in one pass of git's log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from shlex import join, quote

from llorch_core.postmortem.git import git
from llorch_core.postmortem.repository import Repository

SETTINGS = ("-c", "core.quotePath=false", "-c", "log.showRoot=true")
WALK = ("--full-history", "--no-merges", "--topo-order")
PATCH = ("-p", "-U0", "-M", "-l0", "--no-color", "--no-ext-diff", "--no-textconv", "--format=%x01%H")
PLAIN = ("--src-prefix=a/", "--dst-prefix=b/", "--diff-algorithm=myers")
# the same, for a person: sign, commit, number of the change, "gone" with its file or "kept", path, line
AWK = r"""/^\001/{c=substr($0,2);next} /^diff --git /{h=1;n++;o="";w="";l=0;next} /^@@/{h=0;next}
h&&/^(new file mode|deleted file mode|index .*) 1[26]0000$/{l=1}
h&&/^--- a\//{o=substr($0,7);sub(/\t$/,"",o)} h&&/^\+\+\+ b\//{w=substr($0,7);sub(/\t$/,"",w)}
!h&&!l&&/^[-+]/{s=substr($0,1,1);sub(/[ \t\r]+$/,"");sub(/^.[ \t]*/,"")
print s"\t"c"\t"n"\t"(w==""?"gone":"kept")"\t"(s=="+"?w:o)"\t"$0}"""
SAYS = (
    "lines are those of git log -p -U0 without merges and without symbolic links and submodules, renames"
    " followed below the path; what moved in from elsewhere counts when it came"
)


# in the head of a patch: of a symbolic link or a submodule, whose line is a path or a hash and no text
NO_TEXT = re.compile(rb"(?:new file mode|deleted file mode|index .*) 1[26]0000")


@dataclass(frozen=True, slots=True)
class Line:
    """One line that a commit added (+) or removed (-), without blanks at its ends.

    `change` numbers the changes of one file by one commit; `gone` is whether the commit deleted the file.
    """

    sign: bytes
    sha: str
    change: int
    gone: bool
    path: bytes
    text: bytes
    number: int  # of the line in the file, after the commit or before it


def arguments(repository: Repository) -> list[str]:
    """Return the arguments of git that print every patch below the path, the newest first."""
    scope = ["--", repository.path] if repository.path else []
    return [*SETTINGS, "log", *WALK, *PATCH, *PLAIN, repository.commit, *scope]


def command(repository: Repository) -> str:
    """Return the shell command that prints the same lines."""
    return f"LC_ALL=C {join(['git', *arguments(repository)])} | LC_ALL=C awk {quote(AWK)}"


def patches(repository: Repository) -> Iterator[Line]:
    """Give every added and removed line, the newest commit first."""
    sha, old, new, change, head, text, at = "", b"", b"", 0, False, True, {b"+": 0, b"-": 0}
    for line in git(repository.top, *arguments(repository)).split(b"\n"):
        sign = line[:1]
        if sign == b"\x01":
            sha = line[1:].decode()
        elif line.startswith(b"diff --git "):
            old, new, change, head, text = b"", b"", change + 1, True, True
        elif sign == b"@":
            head = False
            _, removed, added, _ = line.split(b" ", 3)
            at = {b"-": int(removed[1:].split(b",")[0]), b"+": int(added[1:].split(b",")[0])}
        elif head:
            if line.startswith(b"--- a/"):
                old = line[6:].removesuffix(b"\t")
            elif line.startswith(b"+++ b/"):
                new = line[6:].removesuffix(b"\t")
            elif NO_TEXT.fullmatch(line):
                text = False
        elif text and sign in (b"+", b"-"):
            path = new if sign == b"+" else old
            yield Line(sign, sha, change, not new, path, line[1:].rstrip(b" \t\r").lstrip(b" \t"), at[sign])
            at[sign] += 1
