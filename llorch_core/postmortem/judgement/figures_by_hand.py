"""Figures written by hand: a number before the unit of measured figures is one of them, or it is a problem.

A text refers to a measured figure as {history.commits}, and the report fills it in.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from llorch_core.postmortem.facts import Facts, Value
from llorch_core.postmortem.judgement.evidence import Miss, unknown, words

Measured = Mapping[str, Sequence[tuple[str, float]]]  # unit: the names and values of its figures

PLACEHOLDER = re.compile(r"\{([a-z_]+(?:\.[a-z0-9_]+)+)\}")
NUMBER = r"(?<![\w.,/#$€-])(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)"
QUOTED = re.compile(r"\"([^\"]+)\"|“([^”]+)”|`([^`]+)`")
ABOUT = ("about", "around", "roughly", "some", "circa", "~")
BELOW = ("nearly", "almost", "less than", "fewer than", "under", "up to", "at most")
ABOVE = ("more than", "over", "at least")
ROUNDED = rf"(?:({'|'.join((*ABOUT, *BELOW, *ABOVE))})\s*)?"
ROWS = "rows"
PERCENT = ("percent", "per cent", "%")
NEXT = "Write {{{name}}}, or say about, more than or nearly; put what others wrote in quotation marks."


def by_hand(text: str, measured: Measured, quotes: Iterable[str] = ()) -> Iterator[Miss]:
    """Give the figures of a text that were not measured.

    A passage in quotation marks is left alone where one of `quotes`, the evidence of the entry, has it.
    """
    shown = [words(quote) for quote in quotes]

    def without(match: re.Match[str]) -> str:
        said = words(next(group for group in match.groups() if group))
        return " … " if any(said in quote for quote in shown) else match[0]

    text = words(QUOTED.sub(without, text))
    for match in pattern(measured).finditer(text) if measured else ():
        rounding, number, written = match.groups()
        unit = unit_of(written, measured)
        if not any(agrees(rounding, number, value) for _, value in measured[unit]):
            yield differs(match[0], number, unit, measured[unit])


def differs(said: str, number: str, unit: str, figures: Sequence[tuple[str, float]]) -> Miss:
    """Return what to say of a figure that was not measured, with the measured ones nearest to it."""
    wanted = float(number.replace(",", ""))
    near = sorted(dict.fromkeys(figures), key=lambda f: (abs(f[1] - wanted), f[0]))
    listed = ", ".join(f"{name} {value:,}" for name, value in near[:6])
    more = f" and {len(near) - 6} others" if len(near) > 6 else ""
    next_step = NEXT.format(name=near[0][0])
    return Miss(f"{said!r} is no measured figure", f"one of those in {unit}: {listed}{more}", said, next_step)


def agrees(rounding: str | None, number: str, value: float) -> bool:
    """Return whether a number as it is written may stand for a measured value."""
    written = float(number.replace(",", ""))
    if not rounding:
        return value == written
    rounding = rounding.lower()
    if rounding in ABOUT:
        return abs(value - written) <= last_digit(number) / 2
    low, high = sorted((value, written))
    side = value <= written if rounding in BELOW else value >= written
    if rounding in ("up to", "at most", "at least"):
        return side and high <= 2 * low
    return side and value != written and high <= 2 * low


def last_digit(number: str) -> float:
    """Return what one more in the last digit that is not a rounded zero would add: 100 for 85,600."""
    digits = number.replace(",", "")
    if "." in digits:
        return float(10.0 ** -len(digits.partition(".")[2]))
    return float(10 ** (len(digits) - len(digits.rstrip("0")))) if int(digits) else 1.0


def pattern(measured: Measured) -> re.Pattern[str]:
    """Return what finds a number before one of the units, in singular or plural."""
    names = sorted({form for unit in measured for form in forms(unit)}, key=len, reverse=True)
    units = "|".join(re.escape(name) for name in names)
    return re.compile(rf"{ROUNDED}{NUMBER}[\s-]*({units})(?![\w])", re.IGNORECASE)


def forms(unit: str) -> tuple[str, ...]:
    """Return how a unit is written: the plural, the singular, or a sign."""
    if unit in PERCENT:
        return PERCENT
    if unit.endswith("ies"):
        return unit, f"{unit[:-3]}y"
    if unit.endswith(("ches", "shes", "sses")):
        return unit, unit[:-2]
    return (unit, unit[:-1]) if unit.endswith("s") else (unit,)


def unit_of(written: str, measured: Measured) -> str:
    """Return the unit that is written in some form."""
    return next(unit for unit in measured if written.lower() in map(str.lower, forms(unit)))


def by_unit(facts: Facts) -> dict[str, list[tuple[str, float]]]:
    """Return the measured numbers by their units."""
    found: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for name, figure in facts.figures.items():
        if number(figure.value) is not None and re.search(r"[a-z%]", figure.unit):
            unit = PERCENT[0] if figure.unit in PERCENT else figure.unit
            found[unit].append((name, float(number(figure.value) or 0)))
    return dict(found)


def joined(measured: Measured, shown: Iterable[tuple[str, str, float]]) -> Measured:
    """Return the measured numbers with those that an entry's own evidence shows.

    The number of its rows stands for any unit.
    """
    own = list(shown)
    if not own:
        return measured
    found = {unit: list(figures) for unit, figures in measured.items()}
    for unit, name, value in own:
        for one in found if unit == ROWS else [unit] if unit in found else []:
            found[one].append((name, value))
    return found


def number(value: Value) -> float | None:
    """Return a value that is a number, else None."""
    return None if isinstance(value, (bool, str)) else value


def unknown_names(text: str, facts: Facts) -> Iterator[Miss]:
    """Give the names of figures in a text that nothing measured has."""
    for name in PLACEHOLDER.findall(text):
        if name not in facts.figures:
            yield unknown("figure", name, facts.figures)
