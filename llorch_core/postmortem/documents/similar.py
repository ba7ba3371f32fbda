"""Documents that say the same: by their content, and by how many runs of words they share."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from llorch_core.postmortem.commands import documents_of, sized
from llorch_core.postmortem.facts import Facts
from llorch_core.postmortem.repository import Repository

RUN = 5  # words
ALIKE = 0.5  # of the runs of both that both have


def measure(repository: Repository, documents: Sequence[str], facts: Facts) -> None:
    """Add the documents that another one repeats, wholly or in great part."""
    blobs = {file.path: file.blob for file in repository.files if file.size}
    same: dict[str, list[str]] = defaultdict(list)
    for path in documents:
        if path in blobs:
            same[blobs[path]].append(path)
    near = list(pairs({blob: runs(repository.contents[paths[0]]) for blob, paths in same.items()}))
    listed = documents_of(sized(repository))
    facts.figure(
        "documents.duplicates",
        sum(len(paths) for paths in same.values() if len(paths) > 1),
        "documents",
        "Documents whose content, byte for byte, another tracked document has too; empty ones are none.",
        f"{listed} | awk '$4 > 0 {{print $3}}' | sort | uniq -c | "
        " awk '$1 > 1 {n += $1} END {print n + 0}'",
    )
    facts.figure(
        "documents.near_duplicates",
        len({blob for a, b, _ in near for blob in (a, b)}),
        "documents",
        f"Documents, those of one content counted once, that share with another at least {ALIKE:.0%} of the"
        f" different runs of {RUN} words that the two have.",
        counting(repository),
    )
    rows = [(path, paths[0], 1.0) for paths in same.values() for path in paths[1:]]
    rows += [(same[a][0], same[b][0], float(f"{share:.2f}")) for a, b, share in near]
    rows.sort(key=lambda row: (-row[2], row[0], row[1]))
    facts.table(
        "documents.duplicates",
        ("file", "other", "share"),
        rows,
        f"Documents with another one of the same content, or that shares at least {ALIKE:.0%} of the"
        f" different runs of {RUN} words that the two have; share is that part, 1.0 for the same content.",
        f"{listed} | awk '{{print $3 \"\\t\" $0}}' | sort | cut -f 1,3",
    )


def runs(content: bytes) -> frozenset[int]:
    """Return the runs of words of a document, as digests."""
    words = content.split()
    return frozenset(hash(run) for run in zip(*(words[k:] for k in range(RUN)), strict=False))


def pairs(documents: Mapping[str, frozenset[int]]) -> Iterator[tuple[str, str, float]]:
    """Give the pairs of documents that are alike, with the share of their runs that both have.

    Two that share so much have one of their rarest runs in common: only those pairs are compared.
    """
    often = Counter(run for those in documents.values() for run in those)
    holders: dict[int, list[str]] = defaultdict(list)
    for name, those in documents.items():
        rarest = sorted(those, key=lambda run: (often[run], run))
        rarest = rarest[: len(rarest) - math.ceil(ALIKE * len(rarest)) + 1]
        for other in sorted({other for run in rarest for other in holders[run]}):
            both = len(those & documents[other])
            share = both / (len(those) + len(documents[other]) - both)
            if share >= ALIKE:
                yield other, name, share
        for run in rarest:
            holders[run].append(name)


def counting(repository: Repository) -> str:
    """Return the command that counts documents that are alike."""
    cut = (
        f'NF {{w[n++ % {RUN}] = $0; if (n >= {RUN}) {{s = ""; for (i = n; i < n + {RUN}; i++)'
        f' s = s w[i % {RUN}] " "; print s "\\t" b}}}}'
    )
    count = (
        '{if ($1 != s) {for (i = 1; i <= m; i++) for (j = i + 1; j <= m; j++) both[h[i] " " h[j]]++;'
        ' m = 0; s = $1} h[++m] = $2; size[$2]++} END {for (k in both) {split(k, p, " ");'
        f" t = size[p[1]] + size[p[2]] - both[k]; if (both[k] >= {ALIKE} * t) {{like[p[1]]; like[p[2]]}}}}"
        " for (k in like) r++; print r + 0}"
    )
    return (
        f"(export LC_ALL=C; {documents_of(sized(repository))} | awk '$4 > 0 {{print $3}}' | sort -u"
        " | while read -r b; do git cat-file blob $b | tr -s '[:space:]' '\\n'"
        f" | awk -v b=$b '{cut}' | sort -u; done | sort | {{ cat; echo; }} | awk -F '\\t' '{count}')"
    )
