"""A run as Markdown, in a page that people go on writing: only what stands between two marks is replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llorch_core.bench.judge import BOUNDS
from llorch_core.bench.words import ABSENT, how, number, seconds, size, within
from llorch_core.engine.errors import UsageError

TITLE = "# How fast llorch is\n"
SPEED, HARNESS = "llorch bench", "llorch bench --harness"  # the sections
STATUS = {
    "wrong": "WRONG: no speed is shown",
    "failed": "failed",
    "cannot": "not run",
}


def write_page(file: Path, section: str, text: str) -> None:
    """Replace a section of a page, or add it; makes the page where there is none. Raises UsageError."""
    begin, end = f"<!-- {section} -->\n", f"<!-- end of {section} -->\n"
    try:
        page = file.read_text(encoding="utf-8") if file.exists() else TITLE
        head, found, rest = page.partition(begin)
        _, closed, tail = rest.partition(end)
        if found and not closed:
            raise UsageError(
                f"{file} has the line {begin.strip()} (wanted {end.strip()} behind it).\n"
                "What is between them is replaced; put the second line back."
            )
        gap = "" if found else "\n"
        file.write_text(f"{head}{gap}{begin}\n{text.strip()}\n\n{end}{tail}", encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"--markdown {file} cannot be written: {error.strerror} (wanted a file).\nName another one."
        ) from error


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table. A line of a cell that breaks the table is made harmless."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |"
        for line in lines
    )


def speed_page(report: Mapping[str, Any]) -> str:
    """Return the section of a run."""
    return "\n\n".join(
        part
        for part in (
            _about(report),
            "### Limits of this machine\n\n" + _limits(report),
            "### Speed\n\n" + _speed(report),
            "### Start and memory\n\n" + _start(report),
            "### Right or wrong\n\n" + _right(report),
            "### Against the peers\n\n" + _ratios(report),
            "### Targets\n\n" + targets(report),
        )
    )


def _about(report: Mapping[str, Any]) -> str:
    machine, model = report["machine"], report["model"]
    versions = ", ".join(f"{name} {found}" for name, found in machine["versions"].items())
    memory = size(machine["memory"]) if machine["memory"] else "not known"
    return (
        f"`{report['command']}`\n\n"
        f"- Machine: {machine['processor']}, {machine['cores']} cores, {machine['threads']} threads used, "
        f"{memory} of memory, {machine['system']}; "
        f"{' '.join(machine['flags']) or 'no flags known'}\n"
        f"- Versions: Python {machine['python']}, {versions}; {machine['blas']}\n"
        f"- Model: {model['title']}; a token is multiplied with {model['weights'] / 1e6:,.1f} million "
        "weights\n"
        f"- {_asked(report)}\n"
        f"- {report['rounds']} rounds, all engines in turn, each in its own process; medians with least and "
        "most"
    )


def _asked(report: Mapping[str, Any]) -> str:
    def one(job: Mapping[str, Any]) -> str:
        if job["measure"] == "prefill":
            return f"prefill reads {job['prompt']} tokens"
        prompts = f"{job['rows']} prompts" if job["rows"] > 1 else "a prompt"
        return f"{job['measure']} makes {job['count']} tokens after {prompts} of {job['prompt']}"

    return (
        "Asked: "
        + "; ".join(map(one, report["jobs"]))
        + ". A batch counts what it reads, too; decode leaves out the first token"
    )


def _limits(report: Mapping[str, Any]) -> str:
    rows = []
    for precision, read in report["limits"]["read"].items():
        size_ = report["model"]["bytes"][precision]
        tokens = {key: value / size_ for key, value in read.items()}
        rows.append([precision, size(size_), within(read, lambda x: f"{x / 1e9:.1f} GB/s"), within(tokens)])
    rate = within(report["limits"]["rate"], lambda x: f"{x / 1e9:.0f}")
    return (
        table(["precision", "read for a token", "read with NumPy alone", "tokens/s at most"], rows)
        + f"\n\nProduct of float32 matrices in NumPy: {rate} GFLOP/s."
    )


def _timed(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [engine for engine in report["engines"] if engine["status"] == "timed"]


def _speed(report: Mapping[str, Any]) -> str:
    measures = [job["measure"] for job in report["jobs"]]
    rows = []
    for engine in report["engines"]:
        name = f"**{engine['engine']}**" if engine["ours"] else engine["engine"]
        if engine["status"] == "timed":
            cells = [within(engine["measures"].get(measure)) for measure in measures]
            rows.append([name, *cells, within(engine["of_limit"].get("decode"))])
        elif engine["status"] != "cannot":
            rows.append([name, STATUS[engine["status"]], *[""] * len(measures)])
    text = "Tokens a second.\n\n" + table(["engine", *measures, "decode, of the limit"], rows)
    absent = [e for e in report["engines"] if e["status"] != "timed"]
    if absent:
        text += "\n\n" + "\n".join(f"- {e['engine']}: {STATUS[e['status']]}: {e['reason']}" for e in absent)
    unable = [(e["engine"], m, why) for e in _timed(report) for m, why in e["unable"].items()]
    return text + ("\n\n" if unable else "") + "\n".join(f"- {e}: no {m}: {why}" for e, m, why in unable)


def _start(report: Mapping[str, Any]) -> str:
    names = ("first", "load", "cold", "memory", "mapped")
    rows = []
    for engine in _timed(report):
        cells = [within(engine["measures"].get(name), how(name)) for name in names]
        rows.append([engine["engine"], *cells, size(engine["needed"]), within(engine["memory_share"])])
    head = [
        "engine",
        "first token",
        "load",
        "cold start",
        "own memory",
        "mapped files",
        "weights and cache",
        "own / these",
    ]
    return (
        "First token: of a loaded model. Cold start: from the start of a process to the first token, with "
        "the files in the page cache. Own memory: the most that a process shared with nobody (RssAnon), "
        "interpreter and libraries included; mapped files can be shared, and are the system's to drop.\n\n"
        + table(head, rows)
    )


def _right(report: Mapping[str, Any]) -> str:
    rows = []
    for engine in report["engines"]:
        if engine["status"] in ("timed", "wrong"):
            off = ABSENT if engine["error"] is None else number(engine["error"])
            bound = BOUNDS[engine["precision"]]
            verdict = (
                f"{engine['agreed']} of {engine['of']}" if engine["status"] == "timed" else engine["reason"]
            )
            rows.append([engine["engine"], engine["version"], off, f"{bound.error:g}", verdict])
    why = "\n".join(f"- {precision}: {bound.why}" for precision, bound in BOUNDS.items())
    return (
        "Error: of a row of logits against llorch in float32 with NumPy, root mean square, as a share of the "
        "spread of the row. Ids: as many as agreed before two were as likely, to the precision.\n\n"
        + table(["engine", "version", "error", "at most", "ids"], rows)
        + f"\n\nWhere the bounds come from:\n\n{why}"
    )


def _ratios(report: Mapping[str, Any]) -> str:
    if not report["against_peers"]:
        return "No peer of the same precision was timed."
    rows = [[r["engine"], r["measure"], r["peer"], within(r["ratio"])] for r in report["against_peers"]]
    return "Medians of the ratios of each round, to the fastest peer of the same precision.\n\n" + table(
        ["engine", "measure", "peer", "ratio"], rows
    )


def targets(report: Mapping[str, Any]) -> str:
    """Return every target with what was reached, as a table."""
    rows = []
    for target in report["targets"]:
        against = target["against"] + (f" ({target['opponent']})" if target["opponent"] else "")
        rows.append(
            [
                target["engine"],
                target["measure"],
                against,
                number(target["wanted"]),
                within(target["ratio"]),
                met(target),
            ]
        )
    for engine in _timed(report):
        if engine["ours"] and engine["memory_share"]:
            most, found = report["memory_target"], engine["memory_share"]
            target = {"met": found["median"] <= most, "ratio": found, "wanted": most}
            rows.append(
                [
                    engine["engine"],
                    "memory",
                    "weights and cache",
                    f"at most {most}",
                    within(found),
                    met(target),
                ]
            )
    return table(["engine", "measure", "against", "wanted", "reached", "verdict"], rows)


def met(target: Mapping[str, Any]) -> str:
    """Return met, missed by how much, or that it was not measured."""
    if target["met"] is None:
        return "not measured"
    return (
        "met" if target["met"] else f"missed by {abs(1 - target['ratio']['median'] / target['wanted']):.0%}"
    )


def harness_page(report: Mapping[str, Any]) -> str:
    """Return the section of what the commands of the harness take."""
    rows = [
        [
            r["model"],
            f"`{r['command']}`",
            r["what"],
            within(r["seconds"], seconds),
            within(r["memory"], size),
            r["says"],
        ]
        for r in report["commands"]
    ]
    starts = [
        [
            f"`{r['command']}`",
            within(r["seconds"], seconds),
            f"{r['wanted']:g} s",
            "met" if r["met"] else "missed",
        ]
        for r in report["starts"]
    ]
    return (
        f"`{report['command']}`: whole processes, {report['rounds']} times each; own memory of a process and "
        "those that it starts, together, at most.\n\n### Start\n\n"
        + table(["command", "until it shows something", "wanted under", "verdict"], starts)
        + "\n\n### The harness\n\n"
        + table(["model", "command", "what it does", "time", "own memory", "says"], rows)
    )
