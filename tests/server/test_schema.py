"""The server keeps to the document that it serves: schemathesis asks what that allows, and what not."""

import os

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable as Unsatisfied
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig

EXAMPLES = int(os.environ.get("LLORCH_SCHEMA_EXAMPLES", "8"))  # of each operation


CONFIG = {
    # What keeps to the schema may yet not fit: a prompt and max_tokens (400), a job_id that is still in use
    # (409), a full queue (429), a deadline (504).
    "checks": {
        "positive_data_acceptance": {"expected-statuses": ["2xx", "400", "409", "429", "503", "504"]},
        "not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", "503", "504"]},
    },
}


@pytest.mark.untraced
def test_what_the_document_says_is_so(served):
    config = SchemathesisConfig.from_dict(CONFIG)
    document = schemathesis.openapi.from_url(f"{served.address}/openapi.json", config=config)
    operations = [found.ok() for found in document.get_all_operations()]
    assert len(operations) == 11
    for operation in operations:
        for mode in GenerationMode:

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(
                max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck)
            )
            def ask(case):
                case.call_and_validate(timeout=60)

            try:
                ask()
            except Unsatisfied:  # nothing of it can be wrong: it has neither parameters nor a body
                assert mode is GenerationMode.NEGATIVE
