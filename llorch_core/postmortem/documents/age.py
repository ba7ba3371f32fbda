"""Age: which code a document is about, and whether that code changed after it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from shlex import quote

from llorch_core.postmortem.commands import documents_of, tracked
from llorch_core.postmortem.facts import Facts
from llorch_core.postmortem.kinds import is_document
from llorch_core.postmortem.repository import Commit, Repository

WORD = rb"[A-Za-z0-9_./-]+"
ABOUT = (
    "the tracked files below the path, no documents, that it names by their path from its own folder, or else"
    " from the path of the case or from the top; where it names none, those in its folder"
)


@dataclass(frozen=True)
class History:
    """When the files of a repository changed: commits that are no merges, by the name a file had then."""

    repository: Repository
    code: Sequence[str] = field(init=False)

    def __post_init__(self) -> None:
        """Remember the code."""
        code = [file.path for file in self.repository.files if not is_document(file.path)]
        object.__setattr__(self, "code", code)

    @cached_property
    def changed(self) -> Mapping[str, Sequence[Commit]]:
        """The commits that changed a file of this name, the latest first."""
        found: dict[str, list[Commit]] = {}
        for commit in self.repository.all_commits:
            if not commit.merge:
                for name in {n for c in commit.changes for n in (c.path, c.old)}:
                    found.setdefault(name, []).append(commit)
        return {
            name: sorted(all_of, key=lambda c: c.committed, reverse=True) for name, all_of in found.items()
        }

    def last(self, path: str) -> datetime | None:
        """Return when a file changed last."""
        return self.changed[path][0].committed if path in self.changed else None

    def since(self, path: str, when: datetime) -> Sequence[Commit]:
        """Return the commits that changed a file later, the latest first."""
        return [commit for commit in self.changed.get(path, ()) if commit.committed > when]

    def about(self, document: str) -> Sequence[str]:
        """Return the code that a document is about."""
        text = self.repository.contents[document]
        words = {re.sub(rb"^(\./)+", b"", w).rstrip(b"./").decode() for w in re.findall(WORD, text)}
        folder = document.rpartition("/")[0]
        places = [f"{at}/" if at else "" for at in (folder, self.repository.path, "")]
        code = set(self.code)
        named = {next((p + word for p in places if p + word in code), "") for word in words}
        return [path for path in self.code if path in named] or [
            path for path in self.code if not folder or path.startswith(f"{folder}/")
        ]


def measure(history: History, documents: Sequence[str], facts: Facts) -> None:
    """Add the documents whose code changed after them."""
    rows = []
    for document in documents:
        written = history.last(document)
        if written is None:
            continue
        later = {path: history.since(path, written) for path in history.about(document)}
        code = max(later, key=lambda path: len(later[path]), default=None)
        if code is not None and later[code]:
            last = max(commits[0].committed for commits in later.values() if commits)
            rows.append((document, code, iso(written), iso(last), len(later[code])))
    rows.sort(key=lambda row: (-row[4], row[0]))
    facts.table(
        "documents.stale",
        ("document", "code", "document_changed", "code_changed", "commits_since"),
        rows,
        f"Documents of which code changed after them ({ABOUT}): the file of it with most commits since, when"
        " the document and when any of its code changed last, and how many commits changed that file since;"
        " by the date of the commit, merges out, renames not followed.",
        newest(history.repository),
    )
    facts.figure(
        "documents.stale",
        len(rows),
        "documents",
        f"Documents that a later commit than their last one has left behind: it changed their code ({ABOUT});"
        " by the date of the commit, merges out, renames not followed.",
        counting(history.repository),
    )


def iso(when: datetime) -> str:
    """Return a time to the second."""
    return when.isoformat(timespec="seconds")


def newest(repository: Repository) -> str:
    """Return the command that prints each name, a tab, and the second at which it changed last."""
    log = f"git -c core.quotePath=false log --full-history --no-merges --no-renames {repository.commit}"
    return (
        f"{log} --format=%x01%ct --name-only | LC_ALL=C awk '/^\\001/ {{t = substr($0, 2) + 0; next}}"
        ' NF {if (t > n[$0]) n[$0] = t} END {for (f in n) print f "\\t" n[f]}\''
    )


def counting(repository: Repository) -> str:
    """Return the command that counts the documents that are left behind."""
    shown = f'git show "{repository.commit}:$d"'
    words = f"{shown} | grep -aoE '{WORD.decode()}' | sed -E 's#^(\\./)+##; s#[./]+$##'"
    top = f"{repository.path}/" if repository.path else ""
    look = (
        'function folder(d) {return d ~ /\\// ? substr(d, 1, match(d, /[^\\/]*$/) - 1) : ""}'
        " FILENAME == ARGV[1] {code[$1] = 1; next} FILENAME == ARGV[2] {when[$1] = $2; next}"
        ' {d = $1; seen[d] = 1; p[1] = folder(d); p[2] = ENVIRON["TOP"]; p[3] = "";'
        " for (i = 1; i < 4; i++) if ((p[i] $2) in code) {has[d] = 1;"
        " if (d in when && when[p[i] $2] > when[d]) old[d] = 1; break}}"
        " END {for (d in seen) {if (!(d in has)) for (c in code) if (index(c, folder(d)) == 1 &&"
        " d in when && when[c] > when[d]) old[d] = 1; n += d in old} print n + 0}"
    )
    return (
        f"(export LC_ALL=C TOP={quote(top)}; F=$(mktemp -d); trap 'rm -rf \"$F\"' EXIT;"
        f' {tracked(repository)} | sort > "$F/all";'
        f' {documents_of(tracked(repository))} | sort > "$F/documents";'
        ' comm -23 "$F/all" "$F/documents" > "$F/code";'
        f' {newest(repository)} > "$F/when"; while IFS= read -r d; do {{ echo; {words}; }} | sort -u'
        ' | D=$d awk \'{print ENVIRON["D"] "\\t" $0}\'; done < "$F/documents"'
        f" | awk -F '\\t' '{look}' \"$F/code\" \"$F/when\" -)"
    )
