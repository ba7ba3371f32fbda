"""The proof bundle: the folder that one run leaves, and what is in it.

    evidence/**.jsonl  one line for each comparison and each scenario, a file for each feature
    reading.json       elements of each checkpoint that the engine recorded of the standard reading
    lines.json         which lines of our engine each scenario ran
    trials.jsonl       what became of each mistake before each rule that claims to catch it
    windows.json       how far honest engines and the nearest mistakes are from each tolerance
    verdicts.json, junit.xml, report.html   what follows from these
    manifest.json      digests of all of it and of what it is about; written last

While it is made there is `unfinished.json` and no manifest: a bundle that was not finished never looks so.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llorch_core.check.compare import Comparison, as_json, from_json
from llorch_core.spec.errors import SpecError
from llorch_core.subject.protocol import Subject
from llorch_core.trace import origin
from llorch_core.trace.lines import Ran
from llorch_core.trace.session import SEED, Outcome

MANIFEST, UNFINISHED = "manifest.json", "unfinished.json"
EVIDENCE, TRIALS = "evidence", "trials.jsonl"
READING, LINES, WINDOWS = "reading.json", "lines.json", "windows.json"
DERIVED = (VERDICTS, JUNIT, REPORT) = (
    "verdicts.json",
    "junit.xml",
    "report.html",
)  # what follows from the rest
SEAL = "seal"


class ProofError(SpecError):
    """A folder that is no proof bundle, or one that cannot be believed."""


@dataclass
class Proof:
    """What a bundle holds, read.

    manifest  what it is about, and the digests
    outcomes  every scenario with its evidence, in the order of the features
    trials    as `llorch prove` wrote them; empty where it was not run
    """

    folder: Path
    manifest: dict[str, Any]
    outcomes: list[Outcome] = field(default_factory=list)
    reading: dict[str, int] = field(default_factory=dict)
    ran: Ran = field(default_factory=dict)
    trials: list[dict[str, Any]] = field(default_factory=list)
    windows: dict[str, dict[str, Any]] = field(default_factory=dict)


def now() -> str:
    """Return the time, in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def begin(folder: Path) -> None:
    """Make an empty bundle, in the place of a former one. Raises ProofError where something else is there."""
    if folder.exists() and not folder.is_dir():
        raise ProofError(f"{folder} is a file (wanted a folder for the proof bundle).\nName another.")
    if folder.is_dir() and any(folder.iterdir()) and not is_bundle(folder):
        raise ProofError(
            f"{folder} holds something else than a proof bundle (wanted a new folder, or a former bundle).\n"
            "Nothing was changed. Name another folder."
        )
    try:
        (folder / MANIFEST).unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / UNFINISHED, {"llorch_proof": "1", "command": command(), "begun": now()})
        for path in folder.iterdir():
            if path.name != UNFINISHED:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    except OSError as error:
        raise ProofError(f"{folder} cannot be written: {error.strerror}.\nName another folder.") from error


def begin_trials(folder: Path) -> None:
    """Open a finished bundle for what `llorch prove` finds; it is unfinished until `seal`."""
    write(folder / UNFINISHED, {"llorch_proof": "1", "command": command(), "begun": now()})
    (folder / TRIALS).unlink(missing_ok=True)


def append_trials(folder: Path, trials: Sequence[Mapping[str, Any]]) -> None:
    """Append what became of some mistakes."""
    with (folder / TRIALS).open("ab") as file:
        file.write(b"".join(line_of(trial) for trial in trials))


def is_bundle(folder: Path) -> bool:
    """Whether a folder holds a proof bundle, finished or not."""
    for name in (MANIFEST, UNFINISHED):
        with contextlib.suppress(OSError, ValueError):
            if "llorch_proof" in json.loads((folder / name).read_text(encoding="utf-8")):
                return True
    return False


def command() -> str:
    """Return the command line of this process, without where its program is."""
    return shlex.join(["llorch", *sys.argv[1:]])


class EvidenceFile:
    """The evidence of one feature: a line for each comparison, as it is made, and for each scenario.

    A line is written by one call to the system: a process that is killed leaves whole lines, and at most
    the last one cut.
    """

    def __init__(self, proof: Path, feature: str, subject: Subject) -> None:
        path = proof / evidence_file(feature)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._engine = {"engine": subject.name, "precision": subject.precision}

    def comparison(self, outcome: Outcome, comparison: Comparison) -> None:
        """Append one comparison."""
        more = {**self._engine, **as_json(comparison), "seed": SEED, "at": now()}
        self._append({"kind": "comparison", **place_of(outcome), **more})

    def scenario(self, outcome: Outcome) -> None:
        """Append how a scenario ended, behind its comparisons."""
        self._append(
            {
                "kind": "scenario",
                **place_of(outcome),
                "feature": outcome.feature,
                "status": outcome.status,
                "message": outcome.message,
                "comparisons": len(outcome.evidence),
                "shared": sorted(outcome.shared),
                "of_oracle": outcome.of_oracle,
                "seconds": round(outcome.seconds, 6),
                "text": outcome.text,
                "at": now(),
            }
        )

    def close(self) -> None:
        os.close(self._file)

    def _append(self, entry: Mapping[str, Any]) -> None:
        os.write(self._file, line_of(entry))


def place_of(outcome: Outcome) -> dict[str, Any]:
    """Return which scenario it is, and of which rules."""
    return {
        "rules": list(outcome.rules),
        "scenario": outcome.title,
        "file": outcome.file,
        "line": outcome.line,
    }


def evidence_file(feature: str) -> str:
    """Return where a feature's evidence is: features/model/laws.feature, evidence/model/laws.jsonl."""
    return f"{EVIDENCE}/{Path(feature).relative_to('features').with_suffix('.jsonl').as_posix()}"


def line_of(entry: Mapping[str, Any]) -> bytes:
    """Return an entry as one line of JSON."""
    return json.dumps(entry, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def text_of(data: Any) -> bytes:
    """Return data in the one form of JSON that files of a bundle have: a changed byte is a changed file."""
    return json.dumps(data, allow_nan=False, indent=1).encode() + b"\n"


def write(path: Path, data: Any) -> None:
    """Write a file of JSON, or one of bytes, whole or not at all."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(data if isinstance(data, bytes) else text_of(data))
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def seal(folder: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    """Write the manifest: what the bundle is about, and the digest of every file. It is then finished."""
    manifest = {"llorch_proof": "1", **about, "files": file_digests(folder)}
    manifest[SEAL] = seal_of(manifest)
    write(folder / MANIFEST, manifest)
    (folder / UNFINISHED).unlink()
    return manifest


def seal_of(manifest: Mapping[str, Any]) -> str:
    """Return the digest of all of a manifest but its seal."""
    rest = {key: value for key, value in manifest.items() if key != SEAL}
    return hashlib.sha256(text_of(rest)).hexdigest()


def file_digests(folder: Path) -> dict[str, str]:
    """Return the digest of every file of a bundle but its manifest, by its name in the bundle."""
    return {
        path.relative_to(folder).as_posix(): origin.sha256(path)
        for path in sorted(folder.rglob("*"))
        if not path.is_dir() and path.relative_to(folder).as_posix() not in (MANIFEST, UNFINISHED)
    }


def content_digest(files: Mapping[str, str]) -> str:
    """Return one digest of what a bundle is made of: its evidence, and what `llorch prove` added."""
    return origin.digest_of({name: value for name, value in files.items() if name not in DERIVED})


def read(folder: Path) -> Proof:
    """Read a finished bundle. Raises ProofError where it is none, is unfinished, or cannot be read.

    It is not judged: see `llorch gate --verify`.
    """
    if not folder.is_dir() or not is_bundle(folder):
        raise ProofError(
            f"{folder} is no proof bundle (wanted a folder that `llorch verify -o {folder}` left).\n"
            f"Make one: llorch verify -o {folder} && llorch prove -o {folder}"
        )
    if (folder / UNFINISHED).exists() or not (folder / MANIFEST).is_file():
        raise ProofError(
            f"{folder} was not finished: the command that made it was ended before. Make it again:\n"
            f"llorch verify -o {folder} && llorch prove -o {folder}"
        )
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        proof = Proof(
            folder,
            manifest,
            outcomes_of(folder, manifest["features"]),
            *(json.loads((folder / name).read_bytes()) for name in (READING, LINES)),
        )
        if (folder / TRIALS).exists():
            proof.trials = [entry for _, entry in lines(folder / TRIALS)]
            proof.windows = json.loads((folder / WINDOWS).read_bytes())
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ProofError(
            f"{folder} cannot be read: {type(error).__name__}: {error}.\n"
            f"`llorch gate --verify {folder}` says which of its files is not as it was written."
        ) from error
    return proof


def outcomes_of(folder: Path, features: Sequence[str]) -> list[Outcome]:
    """Return the scenarios of a bundle with their evidence, in the order of the features."""
    outcomes: list[Outcome] = []
    for feature in features:
        waiting: list[Comparison] = []
        for number, entry in lines(folder / evidence_file(feature)):
            if entry["kind"] == "comparison":
                waiting.append(from_json(entry))
                continue
            if entry["comparisons"] != len(waiting):
                raise ValueError(
                    f"{feature}, line {number} of its evidence: comparisons are missing before it"
                )
            outcomes.append(
                Outcome(
                    tuple(entry["rules"]),
                    entry["scenario"],
                    entry["file"],
                    entry["line"],
                    evidence=waiting,
                    status=entry["status"],
                    message=entry["message"],
                    compared=sum(c.elements for c in waiting),
                    feature=entry["feature"],
                    text=entry["text"],
                    seconds=entry["seconds"],
                    shared=set(entry["shared"]),
                    of_oracle=entry["of_oracle"],
                )
            )
            waiting = []
        if waiting:
            raise ValueError(f"{feature}: comparisons at the end of its evidence belong to no scenario")
    return outcomes


def lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number and the content of each line of a file of JSON lines."""
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        yield number, json.loads(line)
