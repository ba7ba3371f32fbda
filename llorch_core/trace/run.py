"""Run the features in this process, with behave, against one engine or many."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

from behave.configuration import Configuration
from behave.exception import ConfigError
from behave.parser import ParserError
from behave.runner import Context, Runner
from behave.runner_util import parse_features
from behave.step_registry import AmbiguousStep
from behave.tag_expression import make_tag_expression

from llorch_core.spec.errors import SpecError
from llorch_core.spec.suite import suite_folder
from llorch_core.trace.hooks import SESSION, file_of
from llorch_core.trace.session import Outcome, Session


class Features:
    """The features and steps of a folder, read once; they can be run any number of times."""

    def __init__(self, folder: Path) -> None:
        logging.getLogger("behave").setLevel(logging.ERROR)  # it warns of what is not run; we name it
        arguments = [
            str(folder / "features"),
            "--format=null",
            f"--outfile={os.devnull}",
            *("--no-summary", "--no-snippets", "--no-color"),
            *("--no-capture", "--no-capture-stderr", "--no-logcapture"),
        ]
        self._config = Configuration(arguments, load_config=False)
        self._runner = Runner(self._config)
        try:
            with self._runner.path_manager:
                self._runner.setup_paths()
                self._runner.load_hooks()
                self._runner.load_step_definitions()
            self._features = parse_features(self._runner.feature_locations())
        except (AmbiguousStep, ParserError, ConfigError, SyntaxError) as error:
            raise SpecError(f"the features and steps cannot be read: {error}", folder) from error

    def counts(self, tags: str) -> list[int]:
        """Return how many scenarios a tag expression selects of each feature."""
        wanted = make_tag_expression(tags)
        return [sum(wanted.check(s.effective_tags) for s in f.walk_scenarios()) for f in self._features]

    def file(self, index: int) -> str:
        """Return the name of a feature: features/components/mlp.feature."""
        return file_of(self._features[index])

    def run(self, session: Session, tags: str, index: int | None = None) -> list[Outcome]:
        """Run the scenarios that a tag expression selects; return what each of them did.

        index  of the only feature that is run; if not given, all are
        """
        self._config.tag_expression = make_tag_expression(tags)
        self._config.userdata[SESSION] = session
        features = self._features if index is None else [self._features[index]]
        for feature in features:
            feature.reset()
        with self._runner.path_manager:
            self._runner.context = Context(self._runner)
            self._runner.run_model(features)
        return session.outcomes


@cache
def suite() -> Features:
    """Return the features of the suite."""
    return Features(suite_folder())


def count_scenarios(component: str | None = None) -> int:
    """Return how many scenarios there are, of one component or of all."""
    return sum(suite().counts(tags_of(component)))


def run_features(
    session: Session, component: str | None = None, on_scenario: Callable[[Outcome], None] | None = None
) -> list[Outcome]:
    """Run the scenarios of one component, or all of them, and return what each of them did.

    on_scenario  called when a scenario has ended
    """
    if on_scenario:
        session.on_scenario = on_scenario
    return suite().run(session, tags_of(component))


def tags_of(component: str | None) -> str:
    """Return the tag expression of the scenarios of a component, or of all."""
    return f"@{component}.*" if component else "not @nothing"
