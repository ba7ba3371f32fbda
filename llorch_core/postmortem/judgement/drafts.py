"""Drafts: what the measured facts suggest for the judgement. A person reads, corrects and answers them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from llorch_core.postmortem.facts import Facts
from llorch_core.postmortem.judgement.evidence import Sources
from llorch_core.postmortem.judgement.forms import may_lack, properties
from llorch_core.postmortem.judgement.judgement import Bug, Judgement, Team
from llorch_core.postmortem.judgement.origins import Mending, Taken, mendings, of_code, origins, tells
from llorch_core.postmortem.judgement.then import CODE, Then, counted
from llorch_core.postmortem.repository import Repository

MOST = 50
Draft = tuple[dict[str, Any], list[str]]  # an entry, and notes about it


MARKS = re.compile(r"^[\s#>*_+/-]+|[*`]|[\s:*_]+$")  # of Markdown and of comments


def drafts(
    repository: Repository,
    facts: Facts,
    judgement: Judgement,
    most: int = MOST,
    done: Callable[[], None] = lambda: None,
) -> dict[str, list[Draft]]:
    """Return drafts of bugs and teams that the judgement does not have yet.

    most  bugs from fixes, the newest first, bugs from claims, and claims of one team
    done  hears of each fix
    """
    then = Then(repository, facts)
    names = set(judgement.ids)
    bugs = judgement.of(Bug)
    fixed = tuple(bug.fixed for bug in bugs if bug.fixed)
    fixes = [row for row in then.rows("history.fixes") if not (fixed and row["commit"].startswith(fixed))]
    newest = sorted(fixes, key=lambda row: then.at(row["when"]), reverse=True)[:most]
    found = mendings(repository, [row["commit"] for row in newest])
    of_fixes = []
    for row in newest:
        of_fixes.append(fix(row["commit"], found.get(row["commit"], Mending()), then, names))
        done()
    sources = Sources(repository, facts)
    references = [r for entry in judgement for r in entry.references if r.text or r.subject]
    quoted = {(sources.commit(r.commit), r.text or r.subject) for r in references}
    claims = then.rows("claims.made")
    withdrawn = [row for row in claims if row["withdrawn"] and not known(row, quoted)][:most]
    known_authors = {author for team in judgement.of(Team) for author in team.authors}
    authors = [row for row in then.rows("history.authors") if row["author"] not in known_authors]
    return {
        "bugs": of_fixes + [claim_taken_back(row, then, names) for row in withdrawn],
        "teams": [team(row, then, names, most) for row in authors],
    }


def known(row: Mapping[str, Any], quoted: set[tuple[str | None, str]]) -> bool:
    """Return whether the judgement has a claim among its evidence."""
    return any(commit == row.get("commit") and text in str(row["text"]) for commit, text in quoted)


def fix(sha: str, found: Mending, then: Then, names: set[str]) -> Draft:
    """Return the draft of the bug that a commit says it fixes."""
    commit = then.commits[sha]
    brought = origins(then.repository, sha, found) if commit.parents else {}
    first = max(brought, key=lambda one: (brought[one], one)) if brought else ""
    taken = of_code(found.taken)
    entry: dict[str, Any] = {"id": name_of(commit.subject, names), "title": line(commit.subject)}
    if taken:
        entry["component"] = component(max(taken, key=lambda one: len(one.texts)).path, then.repository.path)
    if first:
        entry["introduced"] = first
    entry |= {"fixed": sha, "evidence": [{"commit": sha, "subject": commit.subject}, *quote(sha, taken)]}
    paths = sorted({one.path for one in taken} or set(found.paths))
    return entry, [*began(first, brought, then), *about(first or sha, sha, paths, then), rest("bugs", entry)]


def began(first: str, brought: Mapping[str, int], then: Then) -> Iterator[str]:
    """Give notes on the commits that brought what was taken away."""
    if not first:
        yield "It takes no line away that was there before: find by hand where the fault began."
        return
    yield f"Most of the lines that it takes away came with {then.told(first)}."
    others = sorted((one for one in brought if one != first), key=lambda one: -brought[one])
    if others:
        yield f"Others came with {'; '.join(then.told(one) for one in others[:3])}."


def about(begin: str, end: str, paths: Sequence[str], then: Then) -> Iterator[str]:
    """Give notes on who had touched some files before `end`, and on the tests at `begin`."""
    if paths:
        yield f"Before, {', '.join(paths[:5])} was changed by {then.who(paths, end)}."
    yield f"Tests at {begin[:12]}: {then.tests(begin, paths)}."


def quote(sha: str, taken: Sequence[Taken]) -> Iterator[dict[str, Any]]:
    """Give the longest line that a commit took away as evidence, as it stood before; comments at need."""
    lines = [(one.path, one.first + n, text.strip()) for one in taken for n, text in enumerate(one.texts)]
    lines = [found for found in lines if len(found[2]) >= 3]
    if lines:
        path, number, text = max(lines, key=lambda found: (tells(found[2]), len(found[2])))
        yield {"commit": f"{sha}^", "path": path, "line": number, "text": text[:200]}


def claim_taken_back(row: Mapping[str, Any], then: Then, names: set[str]) -> Draft:
    """Return the draft of the bug that a claim was about which was withdrawn."""
    title = MARKS.sub("", line(row["text"])).strip() or row["word"]
    entry = {"id": name_of(row["text"], names), "title": title, "evidence": [shown(row)]}
    notes = [f"Claimed on {row['when']} by {row['author']}, and withdrawn: {row['withdrawn']}."]
    if row.get("followed"):
        first = f", first {row['next_fix']}" if row.get("next_fix") else ""
        notes.append(f"Fixes that followed: {row['followed']}{first}.")
    sha = row.get("commit")
    if sha in then.commits:
        notes += about(sha, sha, [*touched(row, then)], then)
    return entry, [*notes, rest("bugs", entry)]


def touched(row: Mapping[str, Any], then: Then) -> Iterator[str]:
    """Give the files that a claim is about: its own, and for a message the code of its commit."""
    if row["where"] != "message":
        yield row["place"]
        return
    for change in then.commits[row["commit"]].changes:
        if then.repository.inside(change.path) and CODE.search(change.path):
            yield change.path


def team(row: Mapping[str, Any], then: Then, names: set[str], most: int) -> Draft:
    """Return the draft of one author as a team: what was claimed, and what was delivered."""
    author = row["author"]
    claims = [one for one in then.rows("claims.made") if one["author"] == author]
    entry: dict[str, Any] = {"id": name_of(author, names), "title": author, "authors": [author]}
    if claims:
        entry["claimed"] = [claim(one) for one in claims[:most]]
    says = f"{counted(row['commits'], 'commit')} from {row['first']} to {row['last']}"
    says += f": {row['added']:,} added lines, {row['deleted']:,} deleted."
    evidence = [{"table": "history.authors", "where": {"author": author}}]
    entry["delivered"] = [{"says": says, "evidence": evidence}]
    more = len(claims) - most
    notes = [f"{more:,} more claims are in claims.made of facts.json."] if more > 0 else []
    return entry, [*notes, rest("teams", entry)]


def claim(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what somebody claimed, with its evidence."""
    says = f'"{line(row["text"])}" ({row["where"]})'
    outcome = {"outcome": "withdrawn"} if row["withdrawn"] else {}
    return {"says": says, "when": str(row["when"]), **outcome, "evidence": [shown(row)]}


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the evidence of a claim: its line in a file, or in a message."""
    commit = {"commit": row["commit"]} if row.get("commit") else {}
    if row["where"] == "message":
        return {"commit": row.get("commit") or row["place"], "subject": row["text"]}
    return {**commit, "path": row["place"], "line": row["line"], "text": row["text"]}


def component(path: str, top: str) -> str:
    """Return the part of the product that a file belongs to: its folder below the path, else its name."""
    below = PurePosixPath(path.removeprefix(f"{top}/") if top else path)
    return str(below.parent) if below.parent.parts else below.stem


def line(text: str) -> str:
    """Return a text in one line, without what would be read as the name of a figure."""
    text = " ".join(text.split()).replace("{", "(").replace("}", ")")
    return text[:120].rstrip()


def name_of(text: str, names: set[str]) -> str:
    """Return an id in the words of a text that no other entry has, and remember it."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    name = "_".join(words)[:50].rpartition("_")[0] if len("_".join(words)) > 50 else "_".join(words)
    name = name if re.match("[a-z]", name) else f"entry_{name}".rstrip("_")
    unique, n = name, 2
    while unique in names:
        unique, n = f"{name}_{n}", n + 1
    names.add(unique)
    return unique


def rest(kind: str, entry: Mapping[str, Any]) -> str:
    """Return the note on what a person has to write."""
    asked = [name for name in properties(kind) if name not in entry and not may_lack(kind, name)]
    return f"To be written: {', '.join(name for name in asked if name != 'claimed')}."
