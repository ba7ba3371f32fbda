"""How much of llorch's code tests and scenarios ran, as coverage.py counted it."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import coverage
from coverage.exceptions import CoverageException, NoDataError

ENGINE = "*/llorch_core/engine/*"


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
        return {"package": _share(measured, None), "engine": _share(measured, [ENGINE])}
    except CoverageException:
        return None


def _share(measured: coverage.Coverage, include: list[str] | None) -> Share:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coverage.json"
        try:
            measured.json_report(outfile=str(path), include=include)
        except NoDataError:  # no file of it was run
            return Share(None, None)
        totals: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["totals"]
    return Share(
        _percent(totals["covered_lines"], totals["num_statements"]),
        _percent(totals.get("covered_branches", 0), totals.get("num_branches", 0)),
    )


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None
