"""How much of llorch's code tests and scenarios ran, as coverage.py counted it."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import coverage
from coverage.exceptions import CoverageException, NoDataError

ENGINE = "/llorch_core/engine/"


@dataclass(frozen=True)
class Share:
    """Lines and branches that ran, in percent; None where there are none."""

    line: float | None
    branch: float | None


def shares(data: Path, config: Path) -> dict[str, Share] | None:
    """Return what was run of the package and of its engine; None where there is no readable data.

    config  the pyproject.toml whose settings of coverage.py count
    """
    if not data.is_file():
        return None
    measured = coverage.Coverage(data_file=str(data), config_file=str(config) if config.is_file() else False)
    try:
        measured.load()
        files = _files(measured)
    except CoverageException:
        return None
    engine = [counts for name, counts in files.items() if ENGINE in name.replace("\\", "/")]
    return {"package": _share(list(files.values())), "engine": _share(engine)}


def _files(measured: coverage.Coverage) -> dict[str, dict[str, Any]]:
    """Return the counts of each file, by its absolute name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coverage.json"
        try:
            measured.json_report(outfile=str(path))
        except NoDataError:  # no file of it was run
            return {}
        found = json.loads(path.read_text(encoding="utf-8"))["files"]
    return {str(Path(name).absolute()): entry["summary"] for name, entry in found.items()}


def _share(files: list[dict[str, Any]]) -> Share:
    def total(what: str) -> int:
        return sum(counts.get(what, 0) for counts in files)

    return Share(
        _percent(total("covered_lines"), total("num_statements")),
        _percent(total("covered_branches"), total("num_branches")),
    )


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None
