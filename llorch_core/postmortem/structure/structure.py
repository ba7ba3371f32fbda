"""Structure: files and lines, in which folders and languages, and how modules hang together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from llorch_core.postmortem.case import Settings
from llorch_core.postmortem.commands import added, counted, documents_of, sized, tracked, within_a_copy
from llorch_core.postmortem.facts import Facts
from llorch_core.postmortem.git import git
from llorch_core.postmortem.kinds import DOCUMENTS, NAMES, is_document
from llorch_core.postmortem.repository import Repository
from llorch_core.postmortem.structure import complexity, dependencies
from llorch_core.postmortem.structure.sources import Source, sources

FOLDERS_DEEP = 3
TEXT = "what git takes for text (no NUL byte among the first 8,000, and not marked otherwise)"
LINES = f"newline characters of {TEXT}, and one for an unfinished last line"
# pygount would take a string in a block of Markdown for code, and all of a CMakeLists.txt for comment
WITHOUT_DOCUMENTS = f"find . -type f | grep -aiE '{DOCUMENTS}$' | tr '\\n' '\\0' | xargs -0 rm -f"
PYGOUNT = "pygount -d -m -F .git -N ''"
# pygount takes a line of nothing but brackets for an empty one
BLANK = (
    f"{PYGOUNT} -f sloccount . | awk -F '\\t' '$2 !~ /^__/ {{print $4}}' | tr '\\n' '\\0'"
    " | LC_ALL=C xargs -0 grep -ach '^[[:space:]]*$' /dev/null | awk '{n += $1} END {print n + 0}'"
)
BY_PYGOUNT = (
    "as pygount tells comments in tracked files that do not end as documents do (.md, .rst, .txt and the"
    " like), and are neither binary, generated nor of a language that it does not know; data and settings"
    " count where it knows their language"
)


def total(what: str) -> str:
    """Return the command that prints one of the totals of pygount."""
    return f"{PYGOUNT} -f json . | grep -o '\"total{what}Count\": [0-9]*' | grep -o '[0-9]*$'"


def measure(repository: Repository, settings: Settings, facts: Facts) -> None:
    """Measure the structure of what is tracked at the commit, below the path."""
    lines = lines_of(repository)
    found = list(sources(repository))
    files(repository, lines, facts)
    code(repository, found, facts)
    tree(repository, lines, facts)
    languages(repository, found, lines, facts)
    complexity.measure(repository, found, lines, facts)
    dependencies.measure(repository, facts)
    documents_per_line(repository, found, lines, facts)


def lines_of(repository: Repository) -> dict[str, int]:
    """Return the lines of every tracked file, as git counts them: 0 for what is empty, or no text to it."""
    lines = dict.fromkeys((file.path for file in repository.files), 0)
    scope = ["--", repository.path] if repository.path else []
    try:
        # with `-z`, a name cannot be taken for a number; git fails where no file has a line
        out = git(repository.top, "grep", "-I", "-c", "-z", "", repository.commit, *scope)
    except ValueError:
        return lines
    for line in out.decode(errors="surrogateescape").split("\n")[:-1]:
        path, count = line.removeprefix(f"{repository.commit}:").split("\0")
        lines[path] = int(count)
    return lines


def files(repository: Repository, lines: dict[str, int], facts: Facts) -> None:
    """Add how many files and lines there are."""
    facts.figure(
        "structure.files",
        len(repository.files),
        "files",
        "Tracked files at the commit, below the path; symbolic links and submodules are none.",
        f"{tracked(repository)} | awk 'END {{print NR}}'",
    )
    facts.figure(
        "structure.lines",
        sum(lines.values()),
        "lines",
        f"Lines of the tracked files: {LINES}.",
        added(counted(repository)),
    )
    facts.figure(
        "structure.binary_files",
        sum(file.size > 0 and not lines[file.path] for file in repository.files),
        "files",
        f"Tracked files that are not empty, and not {TEXT}.",
        f"echo $(($({sized(repository)} | awk '$4 > 0 {{n++}} END {{print n + 0}}')"
        f" - $({counted(repository)} | awk 'END {{print NR}}')))",
    )


def code(repository: Repository, found: Sequence[Source], facts: Facts) -> None:
    """Add the lines of code and comment and the blank ones, and the languages with code."""
    for name, value, what, counting in (
        (
            "code",
            sum(s.code for s in found),
            "Lines that are neither comment nor blank",
            f"echo $(($({total('Source')}) + $({total('Empty')}) - $({BLANK})))",
        ),
        ("comment", sum(s.comment for s in found), "Lines of nothing but comment", total("Documentation")),
        ("blank", sum(s.blank for s in found), "Lines of nothing but blanks", BLANK),
    ):
        facts.figure(
            f"structure.{name}",
            value,
            "lines",
            f"{what}, {BY_PYGOUNT}.",
            within_a_copy(repository, f"{WITHOUT_DOCUMENTS}; {counting}"),
        )
    names = '$1 > 0 {n = $4; sub(/.*\\./, "", n); print n in by ? by[n] : $2}'
    known = "".join(f'by["{end}"] = "{name}"; ' for end, name in NAMES.items())
    facts.figure(
        "structure.languages",
        len({s.language for s in found if s.code}),
        "languages",
        "Languages with at least one line of code; a header is C/C++ header, whatever pygount takes it for.",
        within_a_copy(
            repository,
            f"{WITHOUT_DOCUMENTS}; {PYGOUNT} -f sloccount . | awk -F '\\t' 'BEGIN {{{known}}} {names}'"
            " | sort -u | awk 'END {print NR}'",
        ),
    )


def tree(repository: Repository, lines: dict[str, int], facts: Facts) -> None:
    """Add the folders down to the third below the path, each with all that is in it."""
    count: Counter[str] = Counter()
    total: Counter[str] = Counter()
    top = repository.path.count("/") + 1 if repository.path else 0
    for path, of_file in lines.items():
        parts = path.split("/")[:-1]
        for depth in range(top, min(len(parts), top + FOLDERS_DEEP) + 1):
            folder = "/".join(parts[:depth]) or "."
            count[folder] += 1
            total[folder] += of_file
    facts.table(
        "structure.tree",
        ("folder", "files", "lines"),
        ((folder, count[folder], total[folder]) for folder in sorted(count)),
        f"Folders down to {FOLDERS_DEEP} below the path, each with the tracked files and lines of all that is"
        f" in it; lines are {LINES}.",
        counted(repository),
    )


def languages(repository: Repository, found: Sequence[Source], lines: dict[str, int], facts: Facts) -> None:
    """Add files and lines by language."""
    of: dict[str, list[Source]] = defaultdict(list)
    for source in found:
        of[source.language].append(source)
    rows = [
        (
            language,
            len(all_of),
            sum(lines[s.path] for s in all_of),
            sum(s.code for s in all_of),
            sum(s.comment for s in all_of),
            sum(s.blank for s in all_of),
        )
        for language, all_of in of.items()
    ]
    rows.sort(key=lambda row: (-row[3], -row[2], row[0]))
    facts.table(
        "structure.languages",
        ("language", "files", "lines", "code", "comment", "blank"),
        rows,
        f"Tracked files by language, with their lines ({LINES}), and their lines of code and comment and the"
        f" blank ones, {BY_PYGOUNT}.",
        within_a_copy(repository, f"{WITHOUT_DOCUMENTS}; {PYGOUNT} -f summary ."),
    )


def documents_per_line(
    repository: Repository, found: Sequence[Source], lines: dict[str, int], facts: Facts
) -> None:
    """Add how many lines of documents there are for each line of code."""
    written = sum(count for path, count in lines.items() if is_document(path))
    coded = sum(source.code for source in found)
    share = float(f"{written / coded:.2f}") if coded else 0
    code_command = facts.figures["structure.code"].command
    facts.figure(
        "documents.lines_per_line_of_code",
        int(share) if share == int(share) else share,
        "lines",
        "Lines of documents (documents.lines) for each line of code (structure.code), to two decimals; 0"
        " where there is no code.",
        f'awk -v d="$({added(documents_of(counted(repository), ":[0-9]+$"))})" -v c="$( {code_command} )"'
        " 'BEGIN {print (c ? sprintf(\"%.2f\", d / c) : 0) + 0}'",
    )
