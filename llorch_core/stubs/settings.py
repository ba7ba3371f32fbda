"""What a project tells pytest: the names of its tests, and whether an xfail is strict."""

from __future__ import annotations

import configparser
import fnmatch
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

COLLECTED = ("test_*.py", "*_test.py")  # by pytest, where a project does not say otherwise
FILES = (
    ("pytest.ini", "pytest"),
    (".pytest.ini", "pytest"),
    ("tox.ini", "pytest"),
    ("setup.cfg", "tool:pytest"),
)


@dataclass(frozen=True)
class Settings:
    """Names of files, classes and functions that pytest collects: prefixes or patterns."""

    files: tuple[str, ...] = ()  # beside those that are tests everywhere
    classes: tuple[str, ...] = ("Test",)
    functions: tuple[str, ...] = ("test",)
    strict: bool = False
    left_out: tuple[str, ...] = ()  # folders in which pytest does not look

    def is_file(self, name: str) -> bool:
        """Tell whether pytest looks for tests in a file of that name."""
        path = PurePosixPath(name)
        return path.stem != "conftest" and any(path.match(p) for p in (*COLLECTED, *self.files))

    def leaves_out(self, name: str) -> bool:
        """Tell whether pytest does not look into a folder of a file."""
        return any(folder.match(p) for folder in PurePosixPath(name).parents for p in self.left_out)

    def is_class(self, name: str) -> bool:
        """Tell whether pytest looks for tests in a class of that name."""
        return any(_fits(name, pattern) for pattern in self.classes)

    def is_function(self, name: str) -> bool:
        """Tell whether pytest takes a function of that name for a test."""
        return any(_fits(name, pattern) for pattern in self.functions)


def read_settings(project: Path) -> Settings:
    """Read the first file of a project that has a section for pytest."""
    for given in (_of_pyproject(project), *(_of_ini(project / name, section) for name, section in FILES)):
        if given:
            strict = str(given.get("xfail_strict", given.get("strict_xfail", ""))).lower() in (
                "true",
                "1",
                "yes",
            )
            return Settings(
                _words(given.get("python_files")),
                _words(given.get("python_classes")) or Settings.classes,
                _words(given.get("python_functions")) or Settings.functions,
                strict,
                _words(given.get("norecursedirs")),
            )
    return Settings()


def _of_pyproject(project: Path) -> Mapping[str, Any]:
    try:
        text = (project / "pyproject.toml").read_text(encoding="utf-8")
        found = tomllib.loads(text).get("tool", {}).get("pytest", {}).get("ini_options", {})
    except (OSError, ValueError, AttributeError):
        return {}
    return found if isinstance(found, dict) else {}


def _of_ini(path: Path, section: str) -> Mapping[str, Any]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, configparser.Error):
        return {}
    return dict(parser[section]) if parser.has_section(section) else {}


def _words(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else tuple(str(value or "").split())


def _fits(name: str, pattern: str) -> bool:
    return name.startswith(pattern) or fnmatch.fnmatchcase(name, pattern)
