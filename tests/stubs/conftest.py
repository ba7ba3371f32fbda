"""Repositories to judge: those of corpus/, whose files end in .txt so that nothing collects or lints them."""

import re
from pathlib import Path

import pytest

CORPUS = Path(__file__).parent / "corpus"
MARKER = re.compile(r"\s*#: (.*)$")


@pytest.fixture
def corpus(tmp_path):
    """corpus(name) -> a folder with its files, and (file, line, kind) of each comment "#: kind" in them."""

    def write(name):
        wanted = set()
        for path in sorted((CORPUS / name).rglob("*.txt")):
            relative = path.relative_to(CORPUS / name).with_suffix("")
            lines = path.read_text(encoding="utf-8").splitlines()
            for i, line in enumerate(lines, 1):
                found = MARKER.search(line)
                if found:
                    wanted |= {(relative.as_posix(), i, kind) for kind in found[1].split(", ")}
            (tmp_path / relative).parent.mkdir(parents=True, exist_ok=True)
            text = "\n".join(MARKER.sub("", line) for line in lines)
            (tmp_path / relative).write_text(text + "\n", encoding="utf-8")
        return tmp_path, wanted

    return write


@pytest.fixture
def repository(tmp_path):
    """repository({"path": "text"}) -> a folder with these files."""

    def write(files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path

    return write
