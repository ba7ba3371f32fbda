"""Run the features in this process, with behave, against one engine."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from behave.configuration import Configuration
from behave.runner import Runner
from behave.runner_util import collect_feature_locations, parse_features
from behave.tag_expression import make_tag_expression

from llorch_core.spec.suite import suite_folder
from llorch_core.trace.hooks import SESSION
from llorch_core.trace.session import Outcome, Session


def count_scenarios(component: str | None = None, folder: Path | None = None) -> int:
    """Return how many scenarios there are, of one component or of all."""
    features = parse_features(collect_feature_locations([str(folder or suite_folder() / "features")]))
    wanted = make_tag_expression(_tags(component))
    return sum(wanted.check(s.effective_tags) for feature in features for s in feature.walk_scenarios())


def run_features(
    session: Session, component: str | None = None, on_scenario: Callable[[Outcome], None] | None = None
) -> list[Outcome]:
    """Run the scenarios of one component, or all of them, and return what each of them did.

    on_scenario  called when a scenario has ended
    """
    if on_scenario:
        session.on_scenario = on_scenario
    arguments = [
        str(suite_folder() / "features"),
        f"--tags={_tags(component)}",
        "--format=null",
        f"--outfile={os.devnull}",
        "--no-summary",
        "--no-snippets",
        "--no-capture",
        "--no-capture-stderr",
        "--no-logcapture",
        "--no-color",
    ]
    logging.getLogger("behave").setLevel(
        logging.ERROR
    )  # it warns of each scenario that is not run; we name them
    config = Configuration(arguments, load_config=False)
    config.userdata[SESSION] = session
    Runner(config).run()
    return session.outcomes


def _tags(component: str | None) -> str:
    return f"@{component}.*" if component else "not @nothing"
