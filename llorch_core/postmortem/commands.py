"""Commands for a shell at the top of the repository: plain git, and tools that anyone can install."""

from __future__ import annotations

from shlex import quote

from llorch_core.postmortem.kinds import DOCUMENTS, NO_DOCUMENTS
from llorch_core.postmortem.repository import Repository


def tracked(repository: Repository) -> str:
    """Return the command that prints the name of every tracked file, one a line; links are none."""
    return f"{sized(repository)} | cut -f 2-"


def sized(repository: Repository) -> str:
    """Return the command that prints mode, type, blob, size, a tab and the name of every tracked file."""
    listed = f"git ls-tree -r -l -z --full-tree {repository.commit}{below(repository)}"
    return f"{listed} | tr '\\0' '\\n' | grep -a '^100'"


def counted(repository: Repository) -> str:
    """Return the command that prints commit:name:lines of every file that git takes for text."""
    return f"git -c core.quotePath=false grep -I -c '' {repository.commit}{below(repository)}"


def documents_of(listing: str, end: str = "$") -> str:
    """Return the command that keeps the documents of a listing; a name ends with `end`."""
    return f"{listing} | grep -aiE '{DOCUMENTS}{end}' | grep -aviE '{NO_DOCUMENTS}{end}'"


def added(listing: str) -> str:
    """Return the command that adds up the last field of a listing, after a colon."""
    return f"{listing} | awk -F: '{{n += $NF}} END {{print n + 0}}'"


def within_a_copy(repository: Repository, command: str) -> str:
    """Return the command that runs one at the top of a new copy, in which only the tracked files are.

    They are as they were committed: no setting changes the ends of their lines, or filters them.
    """
    copy = (
        'D=$(mktemp -d); trap \'rm -rf "$D"\' EXIT; git clone -q -n -s . "$D"; cd "$D"'
        "; echo '* -text -filter -ident -working-tree-encoding' > .git/info/attributes"
        f"; git checkout -q {repository.commit} -- {quote(repository.path or '.')}"
    )
    return f"({copy}; {command})"


def below(repository: Repository) -> str:
    """Return the end of a command that limits it to the path of the case."""
    return f" -- {quote(repository.path)}" if repository.path else ""
