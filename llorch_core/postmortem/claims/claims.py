"""Claims: FIXED, VERIFIED, ROOT CAUSE, all tests pass: where, when, by whom, and what became of them."""

from __future__ import annotations

from collections.abc import Callable
from shlex import join, quote

from llorch_core.postmortem.case import Settings
from llorch_core.postmortem.claims.claimed import IN_COMMENT, IN_DOCUMENT, ROOT, TESTS, Claim, Claimed
from llorch_core.postmortem.claims.words import CLAIM, NO, RETRACTS, WORDS
from llorch_core.postmortem.facts import Facts
from llorch_core.postmortem.patches import SAYS, SETTINGS, WALK, command
from llorch_core.postmortem.repository import Repository

COLUMNS = (
    *("when", "author", "where", "place", "line", "word", "text", "followed", "withdrawn"),
    *("commit", "again", "next_fix"),
)
SHOWN = 200  # characters of a claim
PLACE = r"^(?:[^\t]*\t){4}"
FIELDS = r"^(?:[^\t]*\t){5}.*?"
KEY = r"""{p=$5;sub(/.*\//,"",p);t=$0;for(i=0;i<5;i++)sub(/^[^\t]*\t/,"",t);k=p"\t"t}"""
MESSAGES = r"""/^\001/{c=substr($0,2);s="# ";next}{t=s $0;s="";gsub(/^[ \t\r]+|[ \t\r]+$/,"",t)
print "+\t"c"\t0\tkept\tmessage\t"t}"""
GONE = (
    r"""part==1{o[$1]=++n;next}"""
    + KEY
    + r"""part==2{if($1=="+"&&!(p in r))r[p]=o[$2];next}
part==4{root[k]=1;next}{if($1=="+"){plus[$3]=1;made[k]=$2;of[k]=p}if(!(k in f)){f[k]=$1 $4;b[k]=$3}}
END{for(k in made){w=f[k]=="-kept"&&!(b[k] in plus)
if(w||((k in root)&&(of[k] in r)&&r[of[k]]<=o[made[k]]))print (k in root?"root\t":"other\t")k}}"""
)
BACK = r"""part==1{r[$0];next}{for(s in r)if(index($2,s)==1){print;next}}"""
LATER = r"""/^\001/{end();c=substr($0,2);n=0;next}
/^\002/{s=tolower(substr($0,2));next}$0!=""{f[++n]=$0}END{end()}
function end(  i,a){for(i=1;i<=n;i++)if(f[i] in later){a=1;print c"\t"f[i]}if(a)print c
if(s~/(^|[^a-z])(fix(e[sd]|ing)?|bug(fix)?|hotfix|revert(s|ed)?|regression|broken|repair)([^a-z]|$)/)
for(i=1;i<=n;i++)later[f[i]];n=0}"""
FOLLOWED = (
    r"""part==1{l[$0];next}part==4{if($2 in l)m++;next}"""
    + KEY
    + r"""$1=="+"{a[k]=part==2?$2:$2"\t"$5}END{for(k in a)if(a[k] in l)m++;print m+0}"""
)
A_CLAIM = (
    "a line that says FIXED, VERIFIED, COMPLETE, ELIMINATED or VICTORY in capitals, behind a mark or at the"
    " end of a title or status, or root cause found, production ready or all tests pass in any letters, and"
    " neither denies, asks nor plans it"
)
ONCE = "lines of one text in files of one name are one claim, also when they are gone now"
WITHDRAWN = (
    "withdrawn is what the newest change of its line removed from a file that stayed, without a claim in its"
    " place; a root cause, also where its own commit or a later one adds a line to a file of that name that"
    " says false lead, was wrong, disproved or the like; a message, where a later one says that it reverts"
    " the commit"
)
FOLLOWED_SAYS = (
    "followed by a fix is what a later commit whose subject says fix, bug, revert, regression, broken or"
    " repair follows that changes the file of the comment or, for documents and messages, any file"
    " of their commit"
)


class Commands:
    """The commands that list claims, for a person."""

    def __init__(self, repository: Repository) -> None:
        """Remember the repository."""
        self.repository = repository
        self.patches = command(repository)

    def log(self, *layout: str) -> str:
        """Return the command that prints the commits without merges, the newest first."""
        scope = ["--", self.repository.path] if self.repository.path else []
        return join(["git", *SETTINGS, "log", *WALK, "--no-color", *layout, self.repository.commit, *scope])

    def rows(self, place: str, says: str = CLAIM) -> str:
        """Return the command that prints the lines, added and removed, of a kind of place."""
        where = quote(f"{PLACE}(?:{place})")
        return f"{self.patches} | LC_ALL=C grep -aP {where} | {saying(says)}"

    def keys(self, place: str, says: str = CLAIM) -> str:
        """Return the command that prints the claims of a kind of place, each once."""
        once = f"LC_ALL=C awk -F'\\t' {quote(KEY + '{print k}')} | LC_ALL=C sort -u"
        return f"{self.rows(place, says)} | LC_ALL=C grep -a '^+' | {once}"

    def messages(self, says: str = CLAIM) -> str:
        """Return the command that prints the claims of messages."""
        rows = f"{self.log('--format=%x01%H%n%B')} | LC_ALL=C awk {quote(MESSAGES)} | {saying(says)}"
        return f"{rows} | LC_ALL=C sort -u"

    def all(self, says: str = CLAIM) -> str:
        """Return the command that prints every claim once."""
        return f"{{ {self.keys(BOTH, says)}; {self.messages(says)}; }}"

    def withdrawn(self) -> str:
        """Return the command that prints what was withdrawn, root or other before each."""
        commits = self.log("--format=%H")
        where, says = quote(f"{PLACE}(?:{BOTH})"), quote(f"{FIELDS}(?:{RETRACTS})")
        retracts = f"{self.patches} | LC_ALL=C grep -aP {where} | LC_ALL=C grep -aiP {says}"
        parts = [commits, retracts, self.rows(BOTH), self.rows(BOTH, WORDS[ROOT])]
        return f"LC_ALL=C awk -F'\\t' {quote(GONE)} {streams(parts)}"

    def taken_back(self, says: str = CLAIM) -> str:
        """Return the command that prints the claims of messages whose commit a later one reverts."""
        named = r"grep -aoP 'This reverts commit \K[0-9a-f]{7,40}'"
        reverted = f"git log --format=%B {self.repository.commit} | {named}"
        return f"LC_ALL=C awk -F'\\t' {quote(BACK)} {streams([reverted, self.messages(says)])}"

    def followed(self) -> str:
        """Return the command that prints how many claims were followed by a fix."""
        log = self.log("-M", "-l0", "--name-only", "--format=%x01%H%n%x02%s")
        later = f"{log} | LC_ALL=C awk {quote(LATER)}"
        parts = [later, self.rows(IN_DOCUMENT), self.rows(f"(?!{IN_DOCUMENT}){IN_COMMENT}"), self.messages()]
        return f"LC_ALL=C awk -F'\\t' {quote(FOLLOWED)} {streams(parts)}"


BOTH = f"{IN_DOCUMENT}|{IN_COMMENT}"


def saying(says: str) -> str:
    """Return the filter that leaves the lines that say a thing and do not deny it."""
    claims, denials = quote(f"{FIELDS}(?:{says})"), quote(f"{FIELDS}(?:{NO})")
    return f"LC_ALL=C grep -aiP {claims} | LC_ALL=C grep -aviP {denials}"


def streams(commands: list[str]) -> str:
    """Return what awk reads, each command as a part of its own."""
    return " ".join(f"part={n} <({one})" for n, one in enumerate(commands, 1))


def measure(repository: Repository, settings: Settings, facts: Facts) -> None:
    """Measure the claims of a repository."""
    claimed = Claimed(repository)
    count(claimed, facts)
    tables(claimed, facts)


def count(claimed: Claimed, facts: Facts) -> None:
    """Count the claims."""
    lists = Commands(claimed.repository)

    def figure(name: str, counts: Callable[[Claim], bool], definition: str, prints: str) -> None:
        value = sum(map(counts, claimed.found))
        facts.figure(f"claims.{name}", value, "claims", definition, prints)

    root, tests = WORDS[ROOT], WORDS[TESTS]
    figure("made", lambda c: True, f"Claims: {A_CLAIM}; {ONCE}; {SAYS}.", f"{lists.all()} | wc -l")
    for name, kind, prints in (
        ("in_documents", "document", lists.keys(IN_DOCUMENT)),
        ("in_comments", "comment", lists.keys(f"(?!{IN_DOCUMENT}){IN_COMMENT}")),
        ("in_messages", "message", lists.messages()),
    ):
        says = f"Claims of {kind}s: {A_CLAIM}; {ONCE}."
        figure(name, lambda c, kind=kind: c.kind == kind, says, f"{prints} | wc -l")  # type: ignore[misc]
    figure(
        "withdrawn",
        lambda c: bool(c.withdrawn),
        f"Claims that were withdrawn: {WITHDRAWN}.",
        f"{{ {lists.withdrawn()}; {lists.taken_back()}; }} | wc -l",
    )
    figure(
        "root_causes",
        lambda c: ROOT in c.words,
        f"Claims to have found a root cause; {ONCE}.",
        f"{lists.all(root)} | wc -l",
    )
    figure(
        "root_causes_withdrawn",
        lambda c: ROOT in c.words and bool(c.withdrawn),
        f"Claims to have found a root cause that were withdrawn: {WITHDRAWN}.",
        f"{{ {lists.withdrawn()} | LC_ALL=C grep -a '^root'; {lists.taken_back(root)}; }} | wc -l",
    )
    figure(
        "all_tests_pass",
        lambda c: TESTS in c.words,
        f"Claims that all tests pass; {ONCE}.",
        f"{lists.all(tests)} | wc -l",
    )
    figure(
        "followed_by_fixes",
        lambda c: bool(c.fixes),
        f"Claims that were followed by a fix: {FOLLOWED_SAYS}.",
        lists.followed(),
    )


def tables(claimed: Claimed, facts: Facts) -> None:
    """Write down every claim, and the words by number."""
    lists = Commands(claimed.repository)
    commits = {c.sha: c for c in claimed.repository.all_commits}
    newest_last = sorted(claimed.found, key=lambda c: (-claimed.order[c.sha], c.path, c.text))
    rows = []
    for c in newest_last:
        commit, fix = commits[c.sha], commits[c.fixes[0]] if c.fixes else None
        rows.append(
            (
                commit.written.isoformat(timespec="seconds"),
                commit.author,
                c.kind,
                c.path.decode(errors="replace") or c.sha,
                c.number,
                c.word,
                c.text.decode(errors="replace")[:SHOWN],
                len(c.fixes),
                c.withdrawn,
                c.sha,
                claimed.again(c),
                f"{fix.sha[:12]} {fix.subject}" if fix else "",
            )
        )
    facts.table(
        "claims.made",
        COLUMNS,
        rows,
        f"Each claim as its commit first wrote it, by the author's time; {WITHDRAWN}; {FOLLOWED_SAYS}; again:"
        " later claims with that word in files of that name.",
        lists.all(),
    )
    words = [[c for c in claimed.found if c.word == word] for word in WORDS]
    facts.table(
        "claims.words",
        ("word", "made", "withdrawn", "corrected_later"),
        [
            (name, len(of), sum(bool(c.withdrawn) for c in of), sum(bool(c.fixes) for c in of))
            for name, of in sorted(zip(WORDS, words, strict=True), key=lambda pair: -len(pair[1]))
        ],
        f"Claims by the first of their words, in the order {', '.join(WORDS)}; {WITHDRAWN}; corrected later"
        f" is followed by a fix; {FOLLOWED_SAYS}.",
        lists.all(),
    )
