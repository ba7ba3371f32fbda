"""Places: which tracked files are specs, tests, documents or code, told by their paths alone."""

from __future__ import annotations

# Regular expressions that Python, git grep -P and grep -P read alike; each is for a whole path.
TEXTS = r"(?:md|markdown|rst|adoc|txt|org)"
_SPEC = r"(?:md|markdown|rst|adoc|ya?ml)"
SPEC = (
    rf"(?:[^:]*/)?(?:\.?(?:specs?|requirements?)/(?:[^./:][^/:]*/)*[^/:]*\.{_SPEC}"
    rf"|(?:spec|SPEC|specification|SPECIFICATION|requirements?|REQUIREMENTS?)\.{_SPEC})"
)
DOCUMENT = rf"[^:]*(?<!CMakeLists)\.{TEXTS}"
TEST = (
    r"(?:[^:]*/)?(?:(?:tests?|testing|__tests__|bdd|e2e|features|steps)/[^:]*"
    r"|(?:test_[^/:]*|conftest|[^/:]*[._-](?:test|tests|spec))\.\w+|[^/:]*\.feature)"
)
# What comes before a path's end, to tell one kind of place from the others in one expression.
AS_CODE = rf"(?!(?:{SPEC}|{DOCUMENT}|{TEST})(?::|\t|$))[^:\t]+"
AS_TEST = rf"(?!(?:{SPEC}|{DOCUMENT})(?::|\t|$))(?:{TEST})"
AS_DOCUMENT = rf"(?!(?:{SPEC})(?::|\t|$))(?:{DOCUMENT})"
SAYS = (
    "a spec is a text or YAML file in a folder specs, spec, .specs or requirements, or of such a name; a"
    " document is any other md, rst, adoc, org or txt; a test is what else stands in a folder of tests or"
    " has the name of a test; the rest is code"
)
