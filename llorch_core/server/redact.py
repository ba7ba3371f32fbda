"""What may not stand in a log: secrets, what a prompt says, and characters that forge or hide a line.

Invisible characters go first: one of them in the middle of a secret would keep it from being recognised.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

HIDDEN = "[redacted]"
MAX_TEXT = 8192  # characters of a value, after redaction
MAX_DEPTH = 8
MAX_ITEMS = 100  # of a list or a mapping

SPOKEN = frozenset({"prompt", "prompts", "text", "body", "completion", "content", "input"})
SECRET = frozenset(
    {
        *("authorization", "proxy_authorization", "cookie", "set_cookie", "password", "passwd", "pwd"),
        *("secret", "client_secret", "private_key", "api_key", "apikey", "x_api_key", "access_key"),
        *("access_token", "refresh_token", "auth_token", "id_token", "api_token", "llorch_api_token"),
        *("llorch_api_tokens", "bearer", "credentials"),
    }
)
_SECRET_NAME = (
    r"(?:llorch_)?(?:api|access|refresh|auth|id|session|client|private)?[_-]?(?:token|key|secret)"
    r"|llorch_api_tokens|passw(?:or)?d|pwd|passphrase"
)
_PATTERNS = [
    # a private key, also one that was cut
    (r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]{0,40}-----|\Z)", HIDDEN),
    # a header of a request, to the end of its value
    (r"""\b((?:proxy-)?authorization|(?:set-)?cookie)(["']?\s*[:=]\s*["']?)[^"',}\]]+""", rf"\1\2{HIDDEN}"),
    (r"\b(bearer)\s+[!-~]+", rf"\1 {HIDDEN}"),
    # a JSON web token: {"… in base64 is eyJ
    (r"\beyJ[\w-]{4,}(?:\.[\w-]*){1,4}", HIDDEN),
    # keys that are known by how they begin: OpenAI, Hugging Face, GitHub, GitLab, Slack, AWS, Google
    (r"\b(?:sk|pk|rk)[-_][\w-]{12,}", HIDDEN),
    (r"\b(?:hf_|gh[pousr]_|github_pat_|glpat-|xox[a-z]-|AKIA|ASIA|AIza)[\w-]{12,}", HIDDEN),
    # the password of a URL, up to the last @ before its path
    (r"\b([a-z][a-z0-9+.-]{0,30}://[^\s/:@]{0,256}:)[^\s/]*@", rf"\1{HIDDEN}@"),
    # name = value, in a query, in JSON, in a setting; but not token:a1b2c3, which is there to be read
    (
        rf"""(?<![a-z0-9])({_SECRET_NAME})(["']?\s*[:=]\s*["']?)(?!\[redacted)(?![0-9a-f]{{6}}(?![!-~]))"""
        r"""[^\s"'&,;}\]]+""",
        rf"\1\2{HIDDEN}",
    ),
]
_HINT = re.compile(  # nothing without one of these has a secret, and most values of a log have none
    r"[:=@]|bearer|eyJ|-----|[spr]k[-_]|hf_|gh[pousr]_|github_pat_|glpat-|xox[a-z]-|A[KS]IA|AIza",
    re.IGNORECASE,
)
_SECRETS = [(re.compile(pattern, re.IGNORECASE | re.DOTALL), instead) for pattern, instead in _PATTERNS]


def visible(text: str) -> str:
    """Return a text without control, zero-width and bidirectional characters; line breaks become spaces."""
    if text.isprintable():  # nearly all are
        return text
    return "".join(c if c.isprintable() else _instead(c) for c in text)


def redact(text: str) -> str:
    """Return a text in one visible line, with every secret that can be recognised replaced by [redacted]."""
    text = visible(text)
    if _HINT.search(text):
        for pattern, instead in _SECRETS:
            text = pattern.sub(instead, text)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}... ({len(text)} characters)"


def redact_all(value: Any, depth: int = 0) -> Any:
    """Return what JSON can hold of a value, redacted at every depth.

    In a mapping the values of names such as password become [redacted], and those of names such as
    prompt only their length: {"prompt": "To be"} becomes {"prompt_length": 5}.
    """
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"({len(value)} bytes)"
    if isinstance(value, (Mapping, list, tuple, set, frozenset)) and depth >= MAX_DEPTH:
        return f"({len(value)} items)"
    if isinstance(value, Mapping):
        return dict(_entry(name, value[name], depth) for name in list(value)[:MAX_ITEMS])
    if isinstance(value, (list, tuple, set, frozenset)):
        return [redact_all(item, depth + 1) for item in list(value)[:MAX_ITEMS]]
    return redact(str(value))


def _entry(name: Any, value: Any, depth: int) -> tuple[str, Any]:
    shown = redact(str(name))
    plain = shown.lower().replace("-", "_")
    if plain in SPOKEN:
        return f"{shown}_length", len(value) if hasattr(value, "__len__") else None
    if plain in SECRET:
        return shown, HIDDEN
    return shown, redact_all(value, depth + 1)


def _instead(character: str) -> str:
    if character.isspace():
        return " "
    category = unicodedata.category(character)
    return "" if category in ("Cc", "Cf") else "\ufffd"  # half of a surrogate pair, or of no meaning yet
