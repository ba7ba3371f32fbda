"""What a diagnosis says, in sentences: the same ones for the terminal and for the page."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from llorch_core.check.compare import Comparison
from llorch_core.diagnosis.lookup import SIGNATURE, block, changes, hint, maker, rule
from llorch_core.diagnosis.result import CONFORMS, UNDECIDED, Cause, Diagnosis, Divergence
from llorch_core.spec.model import generic
from llorch_core.spec.suite import load_specs

MOST_LINES = 10  # of what else is wrong, and of what was not observed


# Numbers


def tolerances(share: float) -> str:
    """Return how far away an element is."""
    if not math.isfinite(share):
        return "farther away than any tolerance reaches"
    if share >= 1e6:
        return f"{share:.1e} tolerances away"
    return f"{share:,.0f} tolerances away" if share >= 100 else f"{share:.2g} tolerances away"


def pair(got: float, wanted: float) -> tuple[str, str]:
    """Return two numbers with as few digits as show that they differ, and one more."""
    for digits in range(3, 16):
        if got == wanted or f"{got:.{digits}g}" != f"{wanted:.{digits}g}":
            break
    return f"{got:.{digits + 1}g}", f"{wanted:.{digits + 1}g}"


def amount(cause: Cause) -> str:
    """Return how much of a mistake is in a tensor, with its uncertainty."""
    if not 5e-5 <= cause.standard_error < math.inf:
        return f"{cause.amount:.4f}"
    digits = min(4, max(1, 1 - math.floor(math.log10(cause.standard_error))))
    return f"{cause.amount:.{digits}f} ± {cause.standard_error:.{digits}f}"


def percent(share: float) -> str:
    """Return a share in percent, rounded down: 100 % is all of it."""
    return f"{math.floor(share * 10_000) / 100:.2f} %".replace(".00 %", " %") if math.isfinite(share) else "?"


def count(n: int, what: str) -> str:
    """Return "1 element" or "2,000 elements"."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def ranges(numbers: Iterable[int]) -> str:
    """Return "0 to 3, 5" of numbers."""
    runs = []
    for _, run in groupby(enumerate(sorted(set(numbers))), lambda pair: pair[1] - pair[0]):
        found = [n for _, n in run]
        runs.append(f"{found[0]} to {found[-1]}" if len(found) > 2 else ", ".join(map(str, found)))
    return ", ".join(runs)


def numbered(what: str, numbers: Iterable[int | None]) -> str:
    """Return "block 2" or "blocks 0 to 3" of numbers."""
    found = {n for n in numbers if n is not None}
    return f"{what} {ranges(found)}" if len(found) == 1 else f"{what}s {ranges(found)}"


def plain(text: str) -> str:
    """Return a text of a stranger without what could move a cursor, change a colour or turn the line."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


# Sentences


def place(d: Divergence, diagnosis: Diagnosis) -> str:
    """Return where a divergence is."""
    c = d.comparison
    several = any(other.sequence for other in diagnosis.divergences) or len(diagnosis.reading) > 1
    parts = [f"sequence {d.sequence}" if several else "", "" if c.step is None else f"step {c.step}"]
    parts += ["" if d.layer is None else f"block {d.layer}", plain(c.what)]
    return ", ".join(part for part in parts if part) + (f" {list(c.index)}" if c.index else "")


def first_lines(diagnosis: Diagnosis) -> list[str]:
    """Say where the first wrong number is, how wrong, and how much before it is right."""
    d = diagnosis.divergences[0]
    c = d.comparison
    got, wanted = pair(c.got, c.wanted)
    if c.shapes:
        lines = [f"{place(d, diagnosis)}: {plain(c.shapes)}"]
    else:
        lines = [f"{place(d, diagnosis)}: got {got}, wanted {wanted}, {tolerances(c.share)}"]
        if not d.hidden:
            lines.append(f"{c.outside:,} of its {count(c.elements, 'element')} are outside their tolerance")
    if d.hidden:
        lines.append("no element alone is outside its tolerance")
    if d.harmless:
        lines.append("harmless: no probability can change by it; it is not what GPT-2 computes all the same")
    checkpoints, elements = diagnosis.before_first()
    lines.append(
        f"everything before it conforms: {count(checkpoints, 'checkpoint')}, {count(elements, 'element')}"
        if checkpoints
        else "nothing was recorded before it"
    )
    return lines + ([plain(d.note)] if d.note else [])


def cause_lines(cause: Cause, hidden: bool = False) -> list[str]:
    """Say what a cause is, how sure it is, and what it cannot be told from."""
    explains = f"explains {percent(cause.explains)} of the error"
    if cause.mistake.startswith(SIGNATURE):
        lines = [f"{cause.mistake}: {cause.text}; this {explains}"]
        lines.append("only a likeness: no mistake of the specs makes this error")
    else:
        lines = [f"{cause.mistake}: {amount(cause)} of it is in this tensor; it {explains}", cause.text]
    if cause.confirmed:
        lines.append("confirmed: computed with it, every element comes out as it was recorded")
    elif not hidden:
        lines.append("not confirmed: computed with it, not every element comes out as it was recorded")
    if cause.same_numbers:
        lines.append(f"on these data it cannot be told from {', '.join(cause.same_numbers)}")
    if cause.seen_in:
        lines.append(f"seen in {', '.join(cause.seen_in)}")
    return [plain(line) for line in lines if line]


def unknown_lines(diagnosis: Diagnosis) -> list[str]:
    """Say that no cause is known, and what the checkpoint is made of."""
    d = diagnosis.divergences[0]
    lines = ["unlike anything listed: no mistake of the specs, and no general signature, makes this error"]
    if (made := maker(load_specs(), d.comparison.what)) is not None:
        sources = ", ".join(_placed(source, d.layer) for source in made.reads())
        lines.append(f"it is made by {made.component.id} of {sources}: {made.equation}")
    return lines


def _placed(source: str, layer: int | None) -> str:
    if source.startswith("h.N.in"):
        return f"h.{layer - 1}.out" if layer else "embed"
    return source.replace("h.N.", f"h.{layer}.")


def other_lines(diagnosis: Diagnosis) -> list[str]:
    """Say what else is wrong, what is alike in one line."""
    groups: dict[tuple[Any, ...], list[Divergence]] = {}
    for d in diagnosis.divergences:
        groups.setdefault(_alike(d), []).append(d)
    first = diagnosis.divergences[0]
    lines = []
    for alike in groups.values():
        others = [d for d in alike if d is not first]
        if others:
            worst = max(d.comparison.share for d in others)
            lines.append(f"{_places(alike, others, diagnosis)}: {_what(others[0], first)}, {_up_to(worst)}")
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], f"and {len(lines) - MOST_LINES + 1} more; --json lists them all"]
    return lines


def _alike(d: Divergence) -> tuple[Any, ...]:
    causes = tuple(sorted(cause.mistake for cause in d.causes))
    return d.sequence, generic(d.comparison.what), causes, d.harmless, d.hidden


def _up_to(share: float) -> str:
    return f"up to {tolerances(share)}" if math.isfinite(share) else tolerances(share)


def _what(d: Divergence, first: Divergence) -> str:
    names = [cause.mistake for cause in d.causes]
    if names and set(names) == {cause.mistake for cause in first.causes}:
        text = "the same mistake" if len(names) == 1 else "the same mistakes"
    else:
        text = " and ".join(names) or "unlike anything listed"
    return text + (", harmless" if d.harmless else "") + (", hidden in rounding" if d.hidden else "")


def _places(alike: Sequence[Divergence], others: Sequence[Divergence], diagnosis: Diagnosis) -> str:
    """Return "h.N.mlp.act in every block" of divergences of one checkpoint."""
    name = others[0].comparison.what
    blocks, steps = ({d.layer for d in alike} - {None}), {d.comparison.step for d in alike}
    all_blocks = {block(c.what) for c in diagnosis.comparisons} - {None}
    all_steps = {c.step for c in diagnosis.comparisons}
    sequence = f"sequence {others[0].sequence}: " if others[0].sequence else ""
    text = plain(name)
    if len(alike) < max(len(blocks), 1) * len(steps):  # some of these blocks at some of these steps
        at = " in some blocks" if len(blocks) > 1 else ""
        at += " at some steps" if len(all_steps) > 1 else ""
        text = plain(generic(name) if len(blocks) > 1 else name)
        return f"{sequence}{text}{at} ({count(len(others), 'checkpoint')})"
    if len({d.layer for d in others}) > 1 or len(blocks) > 1:
        text = plain(generic(name))
        text += " in every block" if blocks == all_blocks else f" in {numbered('block', blocks)}"
    if len(all_steps) > 1 and None not in steps:
        text += " at every step" if steps == all_steps else f" at {numbered('step', steps)}"
    return sequence + text


def not_observed_lines(diagnosis: Diagnosis) -> list[str]:
    """Name what the engine did not show; blocks and steps together."""
    blocks: dict[str, set[int]] = {}
    for entry in diagnosis.not_observed:
        name = re.sub(r"h\.\d+\.", "h.N.", entry)
        found = re.search(r"h\.(\d+)\.", entry)
        blocks.setdefault(name, set()).update({int(found[1])} if found else ())
    everything = set().union(
        *blocks.values(), {b for c in diagnosis.comparisons if (b := block(c.what)) is not None}
    )
    names = [
        plain(name) + ("" if not found or found == everything else f" ({numbered('block', found)})")
        for name, found in blocks.items()
    ]
    if not names:
        return []
    return [f"{', '.join(names)}: nothing is known of {'it' if len(diagnosis.not_observed) == 1 else 'them'}"]


def next_lines(diagnosis: Diagnosis, config: Mapping[str, Any] | None = None) -> list[str]:
    """Say what to do: what to change, or where to look."""
    again = "then record again, and run this command once more"
    if diagnosis.verdict == CONFORMS:
        missing = diagnosis.not_observed
        return ["record the checkpoints that were not observed, and run this command once more"] * bool(
            missing
        )
    if diagnosis.verdict == UNDECIDED or diagnosis.first is None:
        what = (
            "record as much more as it takes"
            if diagnosis.comparisons
            else "remove what kept it from being compared"
        )
        return [f"{what}, {again}"]
    d, lines = diagnosis.first, []
    for cause in d.causes:
        sentence = rule(cause.mistake)
        if sentence:
            lines.append(sentence)
            for change in changes(cause.mistake, config):
                lines += [
                    f"  right   {change.name}: {change.right}",
                    f"  wrong   {change.name}: {change.wrong}",
                ]
        else:
            lines.append(f"{hint(cause)} (in what makes {plain(d.comparison.what)})")
    if not d.causes:
        lines.append(
            f"look at the code that makes {plain(d.comparison.what)}; what it reads is right, its result is "
            f"not. `llorch spec show {d.component}` says what it has to compute"
        )
    return [*lines, again]


def worst(diagnosis: Diagnosis) -> Comparison | None:
    """Return the comparison that came nearest to its tolerance, or went farthest past it."""
    return max(diagnosis.comparisons, key=lambda c: c.share, default=None)


def verdict_line(diagnosis: Diagnosis) -> tuple[str, str]:
    """Return who conforms or does not, and what stands behind that."""
    says = {CONFORMS: "conforms", UNDECIDED: "could not be judged"}.get(diagnosis.verdict, "does not conform")
    elements = sum(c.elements for c in diagnosis.comparisons)
    facts = [count(len(diagnosis.comparisons), "checkpoint"), f"{count(elements, 'element')} compared"]
    if diagnosis.divergences:
        facts.append(f"{count(len(diagnosis.divergences), 'checkpoint')} wrong")
    if diagnosis.not_observed:
        facts.append(f"{len(diagnosis.not_observed):,} not observed")
    facts += [f"tolerances of {diagnosis.precision}", f"exit code {diagnosis.exit_code}"]
    return f"{plain(diagnosis.engine)} with {plain(diagnosis.model)} {says}", ", ".join(facts)


def paragraphs(diagnosis: Diagnosis, config: Mapping[str, Any] | None = None) -> list[tuple[str, list[str]]]:
    """Return the whole answer: titles, and the lines below each."""
    told: list[tuple[str, list[str]]] = []
    if diagnosis.verdict == UNDECIDED:
        told.append(("could not tell", [plain(diagnosis.reason) or "there is no reason given"]))
    if diagnosis.verdict == CONFORMS and (c := worst(diagnosis)) is not None:
        at = "" if c.step is None else f"step {c.step}, "
        near = f"the nearest to it: {at}{plain(c.what)} {list(c.index)}, {c.share:.2g} of a tolerance"
        told.append(("conforms", ["every element that was recorded is within its tolerance", near]))
    if diagnosis.first is not None:
        told.append(("first wrong number", first_lines(diagnosis)))
        causes = diagnosis.first.causes
        for i, cause in enumerate(causes):
            title = "the mistake" if len(causes) == 1 else "the mistakes" if i == 0 else "together with"
            title = "it looks like" if cause.mistake.startswith(SIGNATURE) else title
            told.append((title, cause_lines(cause, diagnosis.first.hidden)))
        if not causes:
            told.append(("the mistake", unknown_lines(diagnosis)))
        told.append(("also wrong", other_lines(diagnosis)))
    told.append(("not observed", not_observed_lines(diagnosis)))
    told.append(("to know", [plain(note) for note in diagnosis.notes]))
    if diagnosis.progress is not None:
        told.append(("since then", [plain(diagnosis.progress.text)]))
    told.append(("next", next_lines(diagnosis, config)))
    return [(title, lines) for title, lines in told if lines]
