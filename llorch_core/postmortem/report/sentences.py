"""What the facts say in sentences; each names its figures, and is said where they were all measured."""

from __future__ import annotations

from collections.abc import Sequence

from llorch_core.postmortem.facts import Facts
from llorch_core.postmortem.report.fill import names

SENTENCES = {
    "history": (
        "{history.commits} commits by {history.authors} authors in {history.days} days, from {history.first}"
        " to {history.last}; {history.merges} merges beside them.",
        "Commits on {history.active_days} days, the most on {history.busiest_day}:"
        " {history.busiest_day_commits}. The longest pause: {history.longest_pause_days} days.",
        "{history.added} lines added, {history.deleted} lines deleted; {history.lines_now} lines are there"
        " now, {history.lines_now_percent} of what was added.",
        "Files now: {history.files_now}; names that files ever had: {history.files_ever}; renames:"
        " {history.renames}.",
        "Commits with a fix in their subject: {history.fixes}; with a revert: {history.reverts}. Bursts of"
        " commits: {history.bursts}.",
    ),
    "structure": (
        "{structure.files} files with {structure.lines} lines: {structure.code} of code, {structure.comment}"
        " of comment, {structure.blank} blank, in {structure.languages} languages.",
        "{structure.functions} functions; the longest has {structure.longest_function} lines, and the most"
        " complex a complexity of {structure.most_complex}.",
        "{structure.modules} modules with {structure.dependencies} imports of one another, and"
        " {structure.cycles} cycles.",
    ),
    "documents": (
        "{documents.files} documents with {documents.lines} lines and {documents.words} words:"
        " {documents.lines_per_line_of_code} lines for each line of code.",
        "Documents whose code changed after them: {documents.stale}; with the content of another:"
        " {documents.duplicates}, with much of it: {documents.near_duplicates}. Links that lead nowhere:"
        " {documents.broken_links}.",
        "Titles that announce a success: {documents.victories}.",
    ),
    "requirements": (
        "{requirements.ids} ids of requirements. Code cites {requirements.in_code} of them, tests"
        " {requirements.in_tests}, documents {requirements.in_documents}; neither code nor tests cite"
        " {requirements.uncited}, and nothing cites {requirements.nowhere}.",
        "Cited, and defined nowhere: {requirements.unknown} ids. Removed from code and tests, and in none of"
        " them now: {requirements.lost} ids, of which {requirements.lost_still_required} are still required.",
    ),
    "tests": (
        "{tests.tests} tests in {tests.files} files. By their text, {tests.cannot_fail} cannot fail"
        " ({tests.share_cannot_fail}); {tests.gone} are of what is gone, {tests.ignored} are ignored;"
        " together {tests.no_evidence} ({tests.share_no_evidence}) are no evidence.",
        "By what they are: empty {tests.empty}, stubs {tests.stubs}, no check {tests.no_check}, checks"
        " of a constant {tests.constant}, of their own values {tests.own_values}, swallowed"
        " {tests.swallowed}.",
    ),
    "claims": (
        "{claims.made} claims of success: {claims.in_documents} in documents, {claims.in_comments} in"
        " comments, {claims.in_messages} in messages of commits. Followed by a fix:"
        " {claims.followed_by_fixes}; withdrawn: {claims.withdrawn}.",
        "Root causes that were announced: {claims.root_causes}, of which {claims.root_causes_withdrawn} were"
        " withdrawn. Claims that all tests pass: {claims.all_tests_pass}.",
    ),
}
# What is said where there is nothing to say more about.
NOTHING = {
    "documents.files": "{documents.files} documents.",
    "requirements.ids": "{requirements.ids} ids of requirements.",
    "tests.tests": "{tests.tests} tests.",
    "claims.made": "{claims.made} claims of success.",
}
# The figures that people ask for first, in one sentence each.
HEADLINES = (
    "{history.commits} commits by {history.authors} authors in {history.days} days, from {history.first} to"
    " {history.last}.",
    "{structure.code} lines of code, and {documents.lines_per_line_of_code} lines of documents for each.",
    "Of {tests.tests} tests, {tests.cannot_fail} cannot fail; with those that are ignored or test what is"
    " gone, {tests.share_no_evidence} are no evidence.",
    "Of {claims.made} claims of success, {claims.followed_by_fixes} were followed by a fix; of"
    " {claims.root_causes} root causes that were announced, {claims.root_causes_withdrawn} were withdrawn.",
    "Of {requirements.ids} ids of requirements, {requirements.uncited} are cited by neither code nor tests.",
)
# The figures at the top of the page: name, and the words above it.
NUMBERS = (
    ("history.commits", "commits"),
    ("history.days", "days"),
    ("structure.code", "lines of code"),
    ("tests.cannot_fail", "tests that cannot fail"),
    ("claims.root_causes_withdrawn", "root causes withdrawn"),
    ("requirements.uncited", "requirements without code and test"),
)


def sentences(section: str, facts: Facts) -> list[str]:
    """Return the sentences of a section whose figures were all measured, not filled in yet."""
    return said(SENTENCES.get(section, ()), facts)


def said(templates: Sequence[str], facts: Facts) -> list[str]:
    """Return those sentences whose figures were all measured; the names of the others as not measured."""
    told = dict.fromkeys(shorter(one, facts) for one in templates)
    missing = [name for one in told for name in names(one) if name not in facts.figures]
    found = [one for one in told if all(name in facts.figures for name in names(one))]
    return [*found, *([f"Not measured: {', '.join(dict.fromkeys(missing))}."] if missing else [])]


def shorter(template: str, facts: Facts) -> str:
    """Return a sentence, or the short one where there is nothing of what it is about."""
    about = names(template)[0].partition(".")[0]
    for name, short in NOTHING.items():
        if name.startswith(f"{about}.") and name in facts.figures and facts.figures[name].value == 0:
            return short
    return template
