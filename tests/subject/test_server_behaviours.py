"""The audit log on trial: right it is the server's own, wrong it is caught by the rule that claims it."""

import pytest

from llorch_core.server.audit import AuditLog
from llorch_core.server.audit_events import digest_of
from llorch_core.server.audit_verify import Verifier
from llorch_core.spec.suite import load_specs
from llorch_core.subject.behaviours.server_audit import SHIMS, Shim
from llorch_core.subject.numpy_engine import NumpyEngine
from llorch_core.trace.run import suite
from llorch_core.trace.session import Session

SPEC = load_specs().after["server_audit"]
CLAIMS = [(mistake, rule.id) for rule in SPEC.rules.values() for mistake in rule.catches]


@pytest.mark.parametrize(("mistake", "rule"), CLAIMS)
def test_a_rule_catches_the_mistake_that_it_claims_by_a_comparison(mistake, rule):
    outcomes = suite().run(Session(NumpyEngine(mistake=mistake)), f"@{rule}")
    failed = [outcome for outcome in outcomes if outcome.status != "passed"]
    assert {outcome.status for outcome in failed} == {"failed"}
    assert not any(outcome.crashed for outcome in failed)
    assert [c for outcome in failed for c in outcome.evidence if not c.conforms]


def test_the_right_log_and_verifier_are_those_of_the_server(tmp_path):
    part = NumpyEngine().behaviour("server_audit")
    log = part.open(tmp_path / "audit", fsync="never")
    log.record("server.stopped", reason="SIGTERM")
    log.close()
    assert type(log) is AuditLog
    assert part.verify(tmp_path / "audit") == Verifier(tmp_path / "audit").run()
    assert part.digest_of("é" * 99) == digest_of("é" * 99)


def test_every_shim_is_of_a_mistake_and_makes_one_thing_wrong():
    wrong = {(datum, value) for m in SPEC.mistakes.values() for datum, value in m.instead.items()}
    assert wrong - SHIMS.keys() == {("digest", "of the first 64 characters")}
    assert SHIMS.keys() <= wrong
    assert Shim() not in SHIMS.values()


@pytest.mark.parametrize(
    "mistake", ["tail_not_anchored", "torn_line_kept", "loss_not_told", "escapes_written"]
)
def test_a_wrong_log_is_right_where_its_mistake_has_no_part(mistake):
    session = Session(NumpyEngine(mistake=f"server_audit.{mistake}"))
    rules = "@server_audit.hash_over_every_field or @server_audit.one_form or @server_audit.one_writer"
    assert {outcome.status for outcome in suite().run(session, rules)} == {"passed"}
