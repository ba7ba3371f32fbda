"""Words of claims: what says that something is done, and what only plans, doubts or denies it."""

from __future__ import annotations

import re

# Regular expressions that Python (over bytes) and grep -P with LC_ALL=C read alike.
# A line is looked at behind a tab, which BEGIN looks for: in a listing it stands behind other fields.
BEGIN = r"(?<=\t)"
END = r"(?:\W*$|[\s*_]*\|)"
MARK = rf"(?:✅|\[x\]|\bstatus\W*:|{BEGIN}#+\s)"
GAP = r"[\s*_]+"


def participle(word: str) -> str:
    """Return what claims that something is fixed: in capitals, after a mark, or ending a title or status."""
    return (
        rf"\b(?-i:{word.upper()})\b(?!-)|{MARK}[^|]*\b{word}{END}|✅\W*{word}\b(?!\w)"
        if word != "complete"
        else rf"\b(?-i:COMPLETED?)\b(?!-)|{MARK}[^|]*\bcompleted?{END}"
    )


WORDS: dict[str, str] = {
    "ROOT CAUSE": r"\b(?-i:ROOT CAUSE)\b"
    r"|\broot cause(?:\W{0,5}:|[\s*_]+(?:is|was|has been|found|identified|confirmed|discovered"
    r"|located|proven)\b)"
    rf"|{BEGIN}#+\W*(?:the )?root cause\W*$"
    r"|\b(?:found|identified|fixed|solved)\s+(?:the\s+)?(?:\w+\s+)?root cause\b",
    "ALL TESTS PASS": r"\ball\s+(?:[\w/]+\s+){0,3}tests?\s+(?:(?:are|is|now|have|still)\s+)*"
    r"(?:pass(?:ed|ing|es)?|green)\b",
    "PRODUCTION READY": r"\bproduction[- ]ready\b",
    "VICTORY": rf"\b(?-i:VICTORY)\b|{BEGIN}#.*\bvictory\b",
    "ELIMINATED": participle("eliminated"),
    "FIXED": participle("fixed"),
    "VERIFIED": participle("verified"),
    "COMPLETE": participle("complete"),
}
KEY = (
    r"(?:fixed|verified|completed?|eliminated|victory|(?:the\s+|\w+\s+)?root cause|production[- ]ready"
    r"|all\s+(?:[\w/]+\s+){0,3}tests?)"
)
DENIES = (
    r"\b(?:not|never|no|cannot|must|should|shall|will|would|could|can|may|might|to be|to get|trying|when"
    r"|until|once|if|before|unless|whether|needs?|without|ensure|verify|check|confirm|make sure|find|identify"
    r"|isolate|locate"
    r"|determine|discover|investigat\w+|potential|possible|likely|claim\w*|mark\w*|todo|fixme|goal|target"
    r"|partial\w*|almost|nearly|expect\w*|false|\w+n['’]t)\W{0,2}"
)
NO = (
    rf"(?:{DENIES}{GAP}(?:[\w'-]+{GAP}){{0,3}}{KEY}\b"
    rf"|\b{KEY}\W{{1,5}}(?:not|never|unknown|unclear|unconfirmed|hypothes\w*|suspect\w*|candidate\w*|tbd|when|if"
    r"|once|elsewhere|remains|analysis)\b"
    rf"|\b(?:\d|[1-9]\d)\s*%\s*{KEY}\b|\[ \]|~~[^~]*\b{KEY}\b[^~]*~~|\?\W*$|[`\"'“]{KEY}[`\"'”]|`(?:{KEY})"
    r"|in progress|🚧|⏳|\bpending\b|\bTODO\b"
    rf"|{BEGIN}\W*(?:fixed|completed|verified)\W*$|\bvictory condition|\brevert(?:s|ed)?\b"
    r"|\bif\b.*\bthen\b|definition of done|(?:success|acceptance|exit) criteria)"
)
CLAIM = "|".join(f"(?:{pattern})" for pattern in WORDS.values())
# What takes a claim back, in a text or in the message of a commit.
RETRACTS = (
    r"\bfalse (?:lead|alarm)|\bretract|\bnot (?:the|a) (?:actual |real |true )?root cause"
    r"|\b(?:was|were|am) wrong\b"
    r"|\bdispro(?:ve|of)|\bdebunk|\bmisdiagnos|\bred herring\b|\bwithdrawn\b|\bcase reopened\b"
)
FIXES = (
    r"(?:^|[^a-z])(?:fix(?:e[sd]|ing)?|bug(?:fix)?|hotfix|revert(?:s|ed)?|regression|broken|repair)"
    r"(?:$|[^a-z])"
)


def words(pattern: str) -> re.Pattern[bytes]:
    """Compile a pattern as grep -iP reads it with LC_ALL=C."""
    return re.compile(pattern.encode(), re.IGNORECASE)


CLAIMS, DENIALS, RETRACTIONS = words(CLAIM), words(NO), words(RETRACTS)
_EACH = {name: words(pattern) for name, pattern in WORDS.items()}


def claims(text: bytes) -> bool:
    """Return whether a line claims something."""
    small = text.lower()
    if not (  # the patterns are slow, and nearly every line stops here
        b"fixed" in small
        or b"complete" in small
        or b"verified" in small
        or b"test" in small
        or b"root cause" in small
        or b"eliminated" in small
        or b"production" in small
        or b"victory" in small
    ):
        return False
    line = b"\t" + text
    return bool(CLAIMS.search(line)) and not DENIALS.search(line)


def words_of(text: bytes) -> list[str]:
    """Return the words that a line claims, in the order of WORDS."""
    return [name for name, pattern in _EACH.items() if pattern.search(b"\t" + text)]
