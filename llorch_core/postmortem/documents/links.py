"""Links: where a Markdown document points to what is not tracked, or to a heading that is not there."""

from __future__ import annotations

import posixpath
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from shlex import quote
from urllib.parse import unquote

from llorch_core.postmortem.facts import Facts
from llorch_core.postmortem.git import git
from llorch_core.postmortem.kinds import suffix
from llorch_core.postmortem.repository import Repository

PLACE = r"(<[^<>\n]*>|[^\s()<>]+(?:\([^\s()]*\)[^\s()]*)*)"
TITLE = r"(?:\s+(?:\"[^\"]*\"|'[^']*'|\([^)]*\)))?"
INLINE = re.compile(rf"\]\(\s*{PLACE}{TITLE}\s*\)")
REFERENCE = re.compile(rf"^ {{0,3}}\[(?!\^)[^\]\n]+\]:\s*{PLACE}{TITLE}\s*$")
HTML = re.compile(r"<(?:a|img)\b[^>]*?\b(?:href|src)\s*=\s*[\"']([^\"']+)[\"']", re.I)
NAMED = re.compile(r"<[a-z][^>]*?\b(?:id|name)\s*=\s*[\"']([^\"']+)[\"']", re.I)
FENCE = re.compile(r"^[\s>]*(?:(?:[-*+]|\d+[.)])\s+)?(`{3,}|~{3,})(.*)$")
SPAN = re.compile(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)")
LIST = re.compile(r"^\s{0,3}(?:[-*+]|\d+[.)])\s")
EMOJI = (
    "\ufe0f"  # says that the sign before it is to be drawn in colours; hosts differ in what they do with it
)
ELSEWHERE = re.compile(r"^(?:[a-z][a-z0-9+.-]*:|//)", re.I)
WHAT = (
    "Links and images of Markdown documents (.md, .markdown), inline, by reference or in HTML, to a"
    " relative place that is neither a tracked file or folder of the repository nor out of it, or to a"
    " heading or id (as GitHub writes them) that the Markdown document does not have; code does not count"
)


def measure(repository: Repository, facts: Facts) -> None:
    """Add the links that lead nowhere."""
    rows = list(broken(repository))
    command = f"python3 -m {__name__} . {repository.commit} {quote(repository.path)}"
    facts.figure(
        "documents.broken_links", len(rows), "links", f"{WHAT}.", f"{command} | awk 'END {{print NR}}'"
    )
    facts.table("documents.broken_links", ("file", "line", "link"), rows, f"{WHAT}.", command)


def broken(repository: Repository) -> Iterator[tuple[str, int, str]]:
    """Give file, line and target of every link that leads nowhere."""
    listed = git(repository.top, "ls-tree", "-r", "-z", "--name-only", "--full-tree", repository.commit)
    tracked = set(listed.decode(errors="surrogateescape").split("\0")[:-1])
    places = tracked | {"/".join(p.split("/")[:k]) for p in tracked for k in range(p.count("/") + 1)}
    texts = {p: c.decode(errors="replace") for p, c in repository.contents.items() if is_markdown(p)}
    known: dict[str, Set[str]] = {}
    for path, text in texts.items():
        for line, link in links(text):
            if not leads_somewhere(path, link, places, texts, known):
                yield path, line, link


def is_markdown(path: str) -> bool:
    """Return whether a file is a Markdown document whose links are places: those of .mdx are a site's."""
    return suffix(path).lower() in ("md", "markdown")


def prose(text: str) -> Iterator[tuple[int, str]]:
    """Give the lines of a Markdown document, with their number, without code and comments."""
    fence, listed, blank, comment = "", False, True, False
    for number, line in enumerate(text.splitlines(), 1):
        mark = FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence) and not mark[2].strip():
                fence = ""
            continue
        if mark and not (mark[1][0] == "`" and "`" in mark[2]):
            fence = mark[1]
            continue
        indented = line.startswith(("    ", "\t"))
        if indented and blank and not listed:
            continue  # a block of code, which goes on after it as it began
        if line.strip() and not indented:
            listed = bool(LIST.match(line)) or (listed and line.startswith(" "))
        blank = not line.strip()
        shown, comment = without_comments(line, comment)
        yield number, shown


def without_comments(line: str, within: bool) -> tuple[str, bool]:
    """Return a line without what is in comments of HTML, and whether one goes on after it."""
    kept = ""
    while line:
        before, mark, line = line.partition("-->" if within else "<!--")
        kept += "" if within else before
        within = within != bool(mark)
    return kept, within


def links(text: str) -> Iterator[tuple[int, str]]:
    """Give line and target of the links and images of a Markdown document."""
    for number, line in prose(text):
        words = SPAN.sub("", line)
        for pattern in (INLINE, REFERENCE, HTML):
            for found in pattern.finditer(words):
                yield number, found[1].removeprefix("<").removesuffix(">").strip()


def leads_somewhere(
    path: str, link: str, places: Set[str], texts: Mapping[str, str], known: dict[str, Set[str]]
) -> bool:
    """Return whether a link leads to what is tracked, or is not ours to judge."""
    if not link or ELSEWHERE.match(link):
        return True
    place, _, anchor = link.partition("#")
    place = unquote(place.split("?")[0])
    base = "" if place.startswith("/") else posixpath.dirname(path)
    target = posixpath.normpath(posixpath.join(base, place.lstrip("/"))) if place else path
    target = "" if target == "." else target
    if target.startswith("../") or target == "..":
        return True
    if target not in places:
        return False
    if not anchor or target not in texts:
        return True
    if target not in known:
        known[target] = anchors(texts[target])
    return unquote(anchor).lower().replace(EMOJI, "") in known[target]


def anchors(text: str) -> set[str]:
    """Return what a link can name within a Markdown document: its headings as hosts write them, and ids."""
    found: set[str] = set()
    count: Counter[str] = Counter()
    before = ""
    for _, line in prose(text):
        found |= {name.lower() for name in NAMED.findall(line)}
        heading = re.match(r"^ {0,3}#{1,6}\s+(.*?)(?:\s+#+)?\s*$", line)
        underlined = before.strip() and re.match(r"^ {0,3}(=+|-+)\s*$", line)
        if heading or underlined:
            name = slug(heading[1] if heading else before)
            found.add(f"{name}-{count[name]}" if count[name] else name)
            count[name] += 1
        before = line
    return found


def slug(heading: str) -> str:
    """Return the anchor of a heading: its text in lower case, without signs, with hyphens for spaces."""
    text = re.sub(r"!?\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])", r"\1", heading)
    text = re.sub(r"<[^>]+>", "", text).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def main(top: str, commit: str, path: str) -> None:
    """Print file, line and target of each link of a repository that leads nowhere."""
    for row in broken(Repository(Path(top), commit, path)):
        sys.stdout.write("\t".join(map(str, row)) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
