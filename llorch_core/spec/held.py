"""The record that specs were run and hold, so that the same specs are not run by every process.

A record is an empty file in the user's cache folder. Its name is the digest of all that decides: each byte of
the specs and of the code that runs them, and the versions of what that code computes with. Another byte is
another name, so a record is never out of date; specs that were refused leave none.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

CODE = Path(__file__).parent
COMPUTED_WITH = ("numpy", "pyyaml", "jsonschema")


def cache_folder() -> Path:
    """Return where llorch keeps what it can make again: llorch/ in the user's cache folder."""
    if sys.platform == "win32":
        usual = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    else:
        usual = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(usual) / "llorch"


def record_of(specs: Path, code: Path = CODE) -> Path:
    """Return the path of the record that says of these specs, this code and these versions: they hold."""
    digest = hashlib.sha256(f"{sys.version}\n{platform.platform()}\n".encode())
    for name in COMPUTED_WITH:
        digest.update(f"{name} {version(name)}\n".encode())
    for folder, kept in ((specs, "*.*"), (code, "*.py")):
        for path in sorted(folder.rglob(kept)):
            content = path.read_bytes()
            digest.update(f"{path.relative_to(folder).as_posix()} {len(content)}\n".encode() + content)
    return cache_folder() / "held" / digest.hexdigest()


def keep(record: Path) -> None:
    """Leave a record; without a folder that may be written, the specs are run again next time."""
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        record.touch()
    except OSError:
        pass
