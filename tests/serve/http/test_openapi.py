"""The description of the API, and the API held against it by requests nobody thought of."""

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

NEEDED = {"model", "prompt", "messages", "max_tokens"}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def test_answers_are_as_described(site):
    schema = schemathesis.openapi.from_url(f"{site.url}/openapi.json")
    seen = set()
    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(max_examples=8, suppress_health_check=list(HealthCheck), deadline=None)
        @given(case=operation.as_strategy())
        def hold(case):
            if isinstance(case.body, dict) and {"prompt", "messages"} & case.body.keys():
                # Or hardly a request would get past the name of the model, or come to an end.
                case.body |= {"model": "tiny", "max_tokens": 2}
                ask(case)
                # Of many optional fields, one or the other is wrong; without them, it is answered.
                case.body = {name: case.body[name] for name in NEEDED & case.body.keys()}
            ask(case)

        def ask(case):
            response = case.call()
            case.validate_response(response, checks=CHECKS)
            seen.add((case.operation.label, response.status_code))

        hold()
    assert {("POST /v1/completions", 200), ("POST /v1/chat/completions", 400)} <= seen
    assert ("GET /v1/models", 200) in seen


def test_the_description_names_every_error_and_asks_nothing_of_the_network(site):
    whole = site.http.get("/openapi.json")
    assert whole.text == site.http.get("/openapi.json").text
    assert '"422"' not in whole.text, "what is invalid is a 400"
    assert "ValidationError" not in whole.text
    described = whole.json()
    answers = described["paths"]["/v1/chat/completions"]["post"]["responses"]
    assert {"200", "400", "401", "403", "404", "408", "413", "415", "429", "503"} <= set(answers)
    assert "`queue_full`" in answers["429"]["description"]
    assert set(answers["200"]["content"]) == {"application/json", "text/event-stream"}
    assert site.http.get("/docs").status_code == 404  # it would load its scripts from elsewhere
