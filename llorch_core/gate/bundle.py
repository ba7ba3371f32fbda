"""Can a proof bundle be believed? It is hashed and counted again, and what follows from it is made again."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llorch_core.check.compare import Comparison
from llorch_core.gate.reasons import Reason
from llorch_core.spec.model import ModelSpec
from llorch_core.trace import origin, proof
from llorch_core.trace.finish import counts_of, not_run, verdicts_of
from llorch_core.trace.junit import junit
from llorch_core.trace.proof import Proof, ProofError
from llorch_core.trace.report import report
from llorch_core.trace.run import suite, tags_of
from llorch_core.trace.trace import Trace, make_trace

NEXT = "Make it again: llorch verify -o PROOF && llorch prove -o PROOF"


def believe(folder: Path, spec: ModelSpec, allow_dirty: bool = False) -> tuple[Trace | None, list[Reason]]:
    """Return the trace of a bundle, and every reason not to believe it.

    allow_dirty  whether a tree with changes that no commit has may be proved

    Where its files are not those that were sealed there is no trace. Raises ProofError where the folder
    is no bundle at all.
    """
    broken = list(_sealed(folder))
    if broken:
        return None, broken
    try:
        found = proof.read(folder)
    except ProofError as error:
        return None, [Reason("tampered", str(folder), str(error), NEXT)]
    trace = make_trace(found, spec)
    reasons = [*_counted(found), *_consistent(found), *_of_this_tree(found), *_committed(found, allow_dirty)]
    if not any(reason.kind == "other tree" for reason in reasons):
        reasons += _follows(found, trace)
    return trace, reasons


def _sealed(folder: Path) -> Iterator[Reason]:
    """Yield where a file is missing, added, or not as it was when the bundle was sealed."""
    if not folder.is_dir():
        raise ProofError(
            f"{folder} is not a folder (wanted a proof bundle).\n"
            f"Make one: llorch verify -o {folder} && llorch prove -o {folder}"
        )
    path = folder / proof.MANIFEST
    if (folder / proof.UNFINISHED).exists() or not path.is_file():
        if not proof.is_bundle(folder):
            raise ProofError(
                f"{folder} holds no {proof.MANIFEST} (wanted a proof bundle).\n"
                f"Make one: llorch verify -o {folder} && llorch prove -o {folder}"
            )
        yield Reason("incomplete", str(folder), "it was not finished: the command was ended before", NEXT)
        return
    raw = path.read_bytes()
    try:
        manifest = json.loads(raw)
        written = proof.text_of(manifest)
        sealed = manifest[proof.SEAL] == proof.seal_of(manifest)
        files: dict[str, str] = dict(manifest["files"])
    except (ValueError, LookupError, TypeError, RecursionError):
        yield Reason("tampered", proof.MANIFEST, "it is not as it was written", NEXT, str(path))
        return
    if written != raw or not sealed:
        yield Reason("tampered", proof.MANIFEST, "its seal does not fit what it says", NEXT, str(path))
        return
    there = proof.file_digests(folder)
    for name in sorted(files.keys() | there.keys()):
        place = str(folder / name)
        if name not in there:
            yield Reason("incomplete", name, "it is missing, and the manifest lists it", NEXT, place)
        elif name not in files:
            yield Reason("tampered", name, "the manifest does not list it", NEXT, place)
        elif there[name] != files[name]:
            says = f"wanted SHA-256 {files[name][:16]}…, got {there[name][:16]}…"
            yield Reason("tampered", name, says, NEXT, place)


def _counted(found: Proof) -> Iterator[Reason]:
    """Yield where nothing was executed, or where counts are not those of the evidence and of the features."""
    manifest, name = found.manifest, proof.MANIFEST
    ran = [outcome for outcome in found.outcomes if outcome.status != "not run"]
    if not ran or not any(c.elements for o in ran for c in o.evidence):
        yield Reason("nothing executed", name, "no scenario compared an element", "Run the features.")
    if manifest["counts"] != counts_of(found):
        says = f"it counts {_short(manifest['counts'])}, its evidence holds {_short(counts_of(found))}"
        yield Reason("miscounted", name, says, NEXT)
    if manifest["collected"] != len(found.outcomes):
        says = f"{manifest['collected']} scenarios were collected, and {len(found.outcomes)} left evidence"
        yield Reason("miscounted", name, says, NEXT)
    if manifest["suite"] == origin.suite_files():
        here = sum(suite().counts(tags_of(manifest["component"])))
        if here != manifest["collected"]:
            says = f"it collected {manifest['collected']} scenarios, and the features hold {here}"
            yield Reason("miscounted", name, says, NEXT)
    if manifest["not_run"] != not_run(found):
        says = "what was not run is not what its list of that names"
        yield Reason("hidden", name, says, NEXT)


def _short(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts.get(key, 0):,} {key}" for key in ("scenarios", "comparisons", "elements"))


def _consistent(found: Proof) -> Iterator[Reason]:
    """Yield where a scenario says that it passed, and its comparisons say otherwise."""
    for outcome in found.outcomes:
        if outcome.status != "passed":
            continue
        bad = next((c for c in outcome.evidence if not c.conforms or not _adds_up(c)), None)
        if bad is not None or not outcome.evidence:
            says = f"it passed, and its evidence says: {bad if bad is not None else 'nothing was compared'}"
            yield Reason("hidden", outcome.id, says, NEXT, outcome.file, outcome.line)


def _adds_up(c: Comparison) -> bool:
    """Whether the share of a comparison is what got, wanted and tolerance make it."""
    if not c.elements or c.got == c.wanted or (math.isnan(c.got) and math.isnan(c.wanted)):
        return c.share == 0 or not c.elements
    return c.tolerance > 0 and math.isclose(c.share, abs(c.got - c.wanted) / c.tolerance, rel_tol=1e-6)


def _of_this_tree(found: Proof) -> Iterator[Reason]:
    """Yield where the bundle is about other specs, features, steps or code than those that are here."""
    manifest = found.manifest
    pairs: list[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = [
        ("the suite", manifest["suite"], origin.suite_files()),
        ("the code of llorch", manifest["code"], origin.code_files()),
    ]
    for what, was, now in pairs:
        changed = sorted(name for name in was.keys() | now.keys() if was.get(name) != now.get(name))
        if changed:
            more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
            says = f"{what} is not what it was: {', '.join(changed[:3])}{more}"
            commit = manifest["git"]["commit"]
            step = f"{NEXT}, or judge it at its own commit{f' {commit[:10]}' if commit else ''}."
            yield Reason("other tree", proof.MANIFEST, says, step)


def _committed(found: Proof, allow_dirty: bool) -> Iterator[Reason]:
    """Yield where no commit holds what was proved."""
    git = found.manifest["git"]
    if allow_dirty:
        return
    if git["commit"] is None:
        yield Reason(
            "dirty tree", proof.MANIFEST, "it was not made in a git checkout", "Commit, and make it again."
        )
    elif git["dirty"]:
        more = f" and {len(git['changed']) - 3} more" if len(git["changed"]) > 3 else ""
        says = f"it was made with changes that no commit has: {', '.join(git['changed'][:3])}{more}"
        yield Reason("dirty tree", proof.MANIFEST, says, "Commit, and make it again; or --allow-dirty.")


def _follows(found: Proof, trace: Trace) -> Iterator[Reason]:
    """Yield where verdicts, JUnit XML or report are not what the evidence makes of them."""
    made = {
        proof.VERDICTS: proof.text_of(verdicts_of(trace)),
        proof.JUNIT: junit(trace).encode(),
        proof.REPORT: report(trace).encode(),
    }
    for name, text in made.items():
        if (found.folder / name).read_bytes() != text:
            says = "it is not what the evidence of the bundle makes of it"
            yield Reason("hidden", name, says, NEXT, str(found.folder / name))
