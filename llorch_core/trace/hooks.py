"""behave's hooks: they open and close the record of each scenario, and fail those that prove nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from behave.model_type import Status

from llorch_core.spec.suite import suite_folder
from llorch_core.trace.session import CrashError, DegenerateError, NotHereError, Outcome, Session

SESSION = "session"  # the entry of behave's userdata that holds the run; plain `behave` makes its own


def before_all(context: Any) -> None:
    """Take the session of `llorch verify`, or put our own engine with the embedded model on trial."""
    session = context.config.userdata.get(SESSION)
    if session is None:
        from llorch_core.subject.numpy_engine import NumpyEngine

        session = Session(NumpyEngine())
    context.session = session


def before_scenario(context: Any, scenario: Any) -> None:
    """Open the record of a scenario. Its rules are its tags that have a dot."""
    rules = tuple(str(tag) for tag in scenario.effective_tags if "." in tag)
    outcome = Outcome(
        tuple(sorted(rules)),
        scenario.name,
        file_of(scenario),
        scenario.line,
        feature=scenario.feature.name,
        text=gherkin(scenario),
        of_oracle="of_the_oracle" in scenario.effective_tags,
    )
    context.session.outcomes.append(outcome)
    context.session.on_context(outcome.id)


def after_step(context: Any, step: Any) -> None:
    """Keep the message of a step that failed; what it lacks is named; a Then has to compare something."""
    outcome = context.session.outcomes[-1]
    compared, outcome.compared = outcome.compared, sum(c.elements for c in outcome.evidence)
    if step.step_type == "then" and step.status.name == "passed" and compared == outcome.compared:
        outcome.status, outcome.message = "stub", f"a Then compared nothing: {step.name}"
    if isinstance(step.exception, NotHereError):
        outcome.status, outcome.message = "not run", str(step.exception)
        step.status = Status.skipped  # plain behave would call it an error
        context.scenario.skip(str(step.exception))
    elif step.exception is not None:
        outcome.message = str(step.exception) or type(step.exception).__name__
        outcome.crashed = isinstance(step.exception, CrashError)
        if isinstance(step.exception, DegenerateError):
            outcome.status = "stub"
    elif step.status.name in ("undefined", "pending"):
        outcome.message = f"no step is written for: {step.keyword} {step.name}"


def after_scenario(context: Any, scenario: Any) -> None:
    """Close the record: a scenario that passed, but compared nothing or nothing that counts, is a stub."""
    outcome = context.session.outcomes[-1]
    outcome.seconds = scenario.duration
    context.session.on_context("")
    status = scenario.status.name
    if outcome.status == "not run" or status == "skipped":
        outcome.status = "not run"
    elif status == "passed":
        try:
            if not outcome.compared:
                raise DegenerateError("it passed without comparing a single element")
            context.session.check_data()
        except DegenerateError as error:
            outcome.status, outcome.message = "stub", str(error)
        except NotHereError as error:
            if outcome.status == "passed":
                outcome.status, outcome.message = "not run", str(error)
                scenario.set_status("skipped")
        if outcome.status == "stub":
            scenario.hook_failed = True  # plain behave would end with 0: no step of it failed
    elif outcome.status != "stub":
        outcome.status = "failed" if status == "failed" else "error"
        unwritten = [s.name for s in scenario.all_steps if s.status.name == "undefined"]
        outcome.message = outcome.message or f"no step is written for: {', '.join(unwritten)}"
    context.session.on_scenario(outcome)


def file_of(scenario: Any) -> str:
    """Return the feature of a scenario as the suite names it: features/components/mlp.feature."""
    path = Path(scenario.filename).resolve()
    return path.relative_to(suite_folder()).as_posix() if path.is_relative_to(suite_folder()) else path.name


def gherkin(scenario: Any) -> str:
    """Return what a scenario says, without its tags; of an outline, one row of its examples filled in."""
    lines = [f"{scenario.keyword}: {scenario.name}", *(f"  {line}" for line in scenario.description)]
    for step in scenario.all_steps:
        lines.append(f"  {step.keyword} {step.name}")
        if step.text is not None:
            lines += ['    """', *(f"    {line}" for line in step.text.splitlines()), '    """']
        if step.table is not None:
            rows = [step.table.headings, *(row.cells for row in step.table)]
            widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
            for row in rows:
                cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
                lines.append(f"    | {' | '.join(cells)} |")
    return "\n".join(lines)
