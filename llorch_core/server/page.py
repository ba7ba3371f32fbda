"""The page at `/`: one file, and the headers that let a browser run what is in it and nothing else."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import lru_cache
from pathlib import Path

FILE = Path(__file__).with_name("page.html")


@lru_cache(maxsize=1)
def page() -> tuple[bytes, dict[str, str]]:
    """Return the page and the headers that it is sent with.

    Its Content-Security-Policy allows the style and the script in it by their digests, requests to the server
    that it came from, and its icon, which is in it.
    """
    text = FILE.read_text(encoding="utf-8")
    policy = {
        "default-src": "'none'",
        "style-src": _digests("style", text),
        "script-src": _digests("script", text),
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return text.encode(), {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-cache",
    }


def _digests(tag: str, text: str) -> str:
    found = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    return " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'" for part in found
    )
