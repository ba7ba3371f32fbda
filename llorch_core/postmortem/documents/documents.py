"""Documents: which there are, how old against their code, what they repeat, declare and point to."""

from __future__ import annotations

from llorch_core.postmortem.case import Settings
from llorch_core.postmortem.commands import added, below, counted, documents_of, tracked
from llorch_core.postmortem.documents import age, links, similar, victories
from llorch_core.postmortem.documents.age import History, iso
from llorch_core.postmortem.facts import Facts
from llorch_core.postmortem.kinds import KINDS, is_document, suffix
from llorch_core.postmortem.repository import Repository
from llorch_core.postmortem.structure.structure import LINES, lines_of

WHAT = (
    f"tracked files below the path that end with {', '.join(KINDS)}, without what a build reads or a program"
    " has written (CMakeLists.txt, requirements*.txt, constraints*.txt, robots.txt, *output*.txt)"
)


def measure(repository: Repository, settings: Settings, facts: Facts) -> None:
    """Measure the documents that are tracked at the commit, below the path."""
    documents = [file.path for file in repository.files if is_document(file.path)]
    lines = lines_of(repository)
    history = History(repository)
    inventory(history, documents, lines, facts)
    age.measure(history, documents, facts)
    similar.measure(repository, documents, facts)
    victories.measure(history, documents, facts)
    links.measure(repository, facts)


def inventory(history: History, documents: list[str], lines: dict[str, int], facts: Facts) -> None:
    """Add the documents, their lines and words."""
    repository = history.repository
    facts.figure(
        "documents.files",
        len(documents),
        "documents",
        f"Documents: {WHAT}.",
        f"{documents_of(tracked(repository))} | awk 'END {{print NR}}'",
    )
    facts.figure(
        "documents.lines",
        sum(lines[path] for path in documents),
        "lines",
        f"Lines of the documents ({WHAT}): {LINES}.",
        added(documents_of(counted(repository), ":[0-9]+$")),
    )
    facts.figure(
        "documents.words",
        sum(len(repository.contents[path].split()) for path in documents if lines[path]),
        "words",
        f"What stands between blanks and ends of lines in the documents ({WHAT}) that git takes for text.",
        words(repository),
    )
    facts.table(
        "documents.inventory",
        ("file", "kind", "lines", "last_changed"),
        (
            (path, KINDS[suffix(path).lower()], lines[path], iso(when) if when else None)
            for path, when in sorted(((p, history.last(p)) for p in documents), key=lambda row: row[0])
        ),
        f"Documents ({WHAT}) with their lines, and when a commit that is no merge changed them last.",
        age.newest(repository),
    )


def words(repository: Repository) -> str:
    """Return the command that counts the words of the documents."""
    text = f"git grep -I -l -z '' {repository.commit}{below(repository)} | tr '\\0' '\\n'"
    return (
        f"(export LC_ALL=C; {documents_of(text)} | while IFS= read -r d; do"
        " git show \"$d\" | tr -s '[:space:]' '\\n' | awk 'NF {n++} END {print n + 0}'; done"
        " | awk '{n += $1} END {print n + 0}')"
    )
