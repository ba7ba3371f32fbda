"""What is planted is found, each in its line and as its kind; what is honest is left alone."""

from llorch_core.stubs.kinds import KINDS
from llorch_core.stubs.report import find


def found(folder):
    return {(f.file, f.line, f.kind) for f in find(folder).findings}


def test_everything_that_is_planted_is_found_and_nothing_else(corpus):
    folder, wanted = corpus("planted")
    assert found(folder) == wanted


def test_every_kind_is_planted(corpus):
    _, wanted = corpus("planted")
    assert {kind for _, _, kind in wanted} == set(KINDS)


def test_nothing_honest_is_blamed(corpus):
    folder, _ = corpus("honest")
    report = find(folder)
    assert report.findings == []
    assert min(report.tests.values()) >= 10
