"""A diagnosis as one page: no script, no font, no picture that is not in it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from llorch_core.diagnosis import lookup, pictures, words
from llorch_core.diagnosis.result import CONFORMS, UNDECIDED, Diagnosis, Divergence

STYLES = (Path(__file__).parents[1] / "looks.css", Path(__file__).with_name("page.css"))
MOST_ROWS = 500  # of the table of what is wrong


def page(diagnosis: Diagnosis, config: Mapping[str, Any] | None = None) -> str:
    """Return the diagnosis as HTML. Whatever comes from a dump is escaped.

    config  of the model, which decides what some equations are; else the defaults
    """
    environment = Environment(
        loader=PackageLoader("llorch_core.diagnosis", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    first = diagnosis.first
    says, facts = words.verdict_line(diagnosis)
    grids, left_out = pictures.grids(diagnosis)
    causes = [
        {
            "id": cause.mistake,
            "lines": words.cause_lines(cause)[1:],
            "amount": words.amount(cause),
            "explains": words.percent(cause.explains),
            "rule": lookup.rule(cause.mistake),
            "changes": lookup.changes(cause.mistake, config),
        }
        for cause in (first.causes if first else ())
    ]
    text = environment.get_template("page.html.j2").render(
        diagnosis=diagnosis,
        style=Markup("".join(f.read_text(encoding="utf-8") for f in STYLES)),
        mood={CONFORMS: "good", UNDECIDED: "unsure"}.get(diagnosis.verdict, "bad"),
        says=says,
        facts=facts,
        paragraphs=dict(words.paragraphs(diagnosis, config)),
        first=first,
        place=words.place(first, diagnosis) if first else "",
        away=_away(first.comparison.share) if first else "",
        numbers=words.pair(first.comparison.got, first.comparison.wanted) if first else (),
        causes=causes,
        grids=grids,
        left_out=left_out,
        heat_map=pictures.heat_map(first) if first else None,
        histograms=pictures.histograms(first) if first else [],
        rows=[_row(d, diagnosis) for d in diagnosis.divergences[:MOST_ROWS]],
        legend=pictures.LEGEND,
        geometry={
            "top": pictures.TOP,
            "wide": pictures.WIDE,
            "high": pictures.HIGH,
            "broad": pictures.BROAD,
            "tall": pictures.TALL,
        },
    )
    return text + "\n"


def _away(share: float) -> str:
    return words.tolerances(share).removesuffix(" tolerances away") if math.isfinite(share) else "∞"


def _row(d: Divergence, diagnosis: Diagnosis) -> dict[str, Any]:
    c = d.comparison
    got, wanted = words.pair(c.got, c.wanted)
    remarks = [cause.mistake for cause in d.causes] or ["unlike anything listed"]
    remarks += ["harmless"] * d.harmless + ["hidden in rounding"] * d.hidden
    return {
        "place": words.place(d, diagnosis),
        "got": got,
        "wanted": wanted,
        "away": _away(c.share),
        "outside": f"{c.outside:,} of {c.elements:,}",
        "what": ", ".join(remarks),
        "note": words.plain(d.note or c.shapes),
    }
