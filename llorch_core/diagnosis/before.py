"""Did a fix help? Only one thing counts: whether the first wrong number is later in the data flow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llorch_core.diagnosis.lookup import block, flow
from llorch_core.diagnosis.result import UNDECIDED, Diagnosis, Progress
from llorch_core.diagnosis.words import plain
from llorch_core.spec.model import ModelSpec, generic

Found = Mapping[str, Any]


def progress(spec: ModelSpec, earlier: Found, now: Diagnosis) -> Progress:
    """Compare a diagnosis with the JSON of an earlier one of the same model, precision and reading."""
    order = {name: i for i, name in enumerate(flow(spec))}
    found = now.as_json()
    before, after = (_first(report, order) for report in (earlier, found))
    shown = {(c.step, c.what) for c in now.comparisons}
    if now.verdict == UNDECIDED and after is None:
        return Progress("unknown", f"could not tell: {now.reason}", before, None)
    if before is None:
        text = "as before, no wrong number" if after is None else f"new: there was none before {_say(after)}"
        return Progress("same" if after is None else "new", text, None, after)
    if after is not None and (here := _key(after, order)) <= (there := _key(before, order)):
        if here < there:
            return Progress("earlier", f"moved back: from {_say(before)} to {_say(after)}", before, after)
        if _mistakes(before) == _mistakes(after):
            wrong = f"{1 + len(earlier['others'])} checkpoints were wrong, {len(now.divergences)} are"
            text = f"as before: {_say(after)}; what was changed is not its cause ({wrong})"
            return Progress("same", text, before, after)
        text = (
            f"still at {_place(after)}, but another mistake: was {_mistakes(before)}, is {_mistakes(after)}"
        )
        return Progress("same", text, before, after)
    if (before["step"], before["checkpoint"]) not in shown:
        text = f"could not tell: {_place(before)} was wrong, and is not recorded this time"
        return Progress("unknown", text, before, after)
    if after is None:
        return Progress("gone", f"fixed: {_say(before)} is gone, and nothing else is wrong", before, None)
    return Progress("later", f"progress: from {_say(before)} to {_say(after)}", before, after)


def _first(report: Found, order: Mapping[str, int]) -> dict[str, Any] | None:
    """Return the first of all divergences in the data flow, whatever its sequence."""
    found = [report["first_divergence"], *report["others"]] if report["first_divergence"] else []
    return min(found, key=lambda d: _key(d, order), default=None)


def _key(d: Found, order: Mapping[str, int]) -> tuple[int, bool, int, int]:
    """Return the place in the data flow: call, whether behind all blocks, block, checkpoint."""
    layer = block(d["checkpoint"])
    at = order.get(generic(d["checkpoint"]), -1)
    last_of_blocks = order["h.N.out"]
    return d["step"] or 0, layer is None and at > last_of_blocks, -1 if layer is None else layer, at


def _mistakes(d: Found) -> str:
    return " and ".join(cause["mistake"] for cause in d["causes"]) or "unlike anything listed"


def _place(d: Found) -> str:
    step = "" if d["step"] is None else f"step {d['step']}, "
    return plain(f"{step}{d['checkpoint']}")


def _say(d: Found) -> str:
    return plain(f"{_place(d)} ({_mistakes(d)})")
