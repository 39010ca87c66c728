"""The API's description for GET /openapi.json. Its schemas are made from the structs that are sent, so they agree.

Written by hand and not by quart-schema: that one wraps every answer of the app, knows no errors in text/plain, and its
page of documentation needs scripts inside of the HTML, which our Content-Security-Policy forbids.
"""

from typing import Any

import msgspec

from workqueue.core.errors import InvalidKey
from workqueue.core.job import JobState
from workqueue.core.options import RETRIES_MAX
from workqueue.core.steps.submit_once import KEY_LENGTH_MAX
from workqueue.core.wire import TYPE_LENGTH_MAX
from workqueue.services.producer.bulk import BATCH_PATH, NO_KEY, TOO_MANY_REQUESTS
from workqueue.services.producer.errors import ANSWERS
from workqueue.services.producer.parameters import LIMIT_DEFAULT, LIMIT_MAX
from workqueue.services.producer.views import (
    BatchAnswer,
    EnqueueAnswer,
    EnqueueRequest,
    JobDetails,
    JobView,
    Metrics,
    Overview,
    WorkerView,
)

Json = dict[str, Any]

#: Of every route (services/http): who may ask, and what there is room for.
ANYWHERE = {
    408: "the body took too long",
    413: "body too large",
    421: "unknown host",
    503: "too much is being sent at once | too many connections",
}
CHANGING = {403: "origin not allowed"}

SHOWN = (EnqueueRequest, EnqueueAnswer, BatchAnswer, JobView, JobDetails, WorkerView, Overview, Metrics)


def document(version: str) -> Json:
    """An OpenAPI 3.1 document of every route but the page's own."""
    _, schemas = msgspec.json.schema_components(SHOWN, ref_template="#/components/schemas/{name}")
    request = schemas["EnqueueRequest"]["properties"]
    request["type"] |= {"minLength": 1, "maxLength": TYPE_LENGTH_MAX}
    request["retries"] = {
        "anyOf": [{"type": "integer", "minimum": 0, "maximum": RETRIES_MAX}, {"type": "null"}],
        "default": 0,
    }
    request["payload"] = {"anyOf": [{"type": "object"}, {"type": "null"}], "default": {}}
    for name in ("JobView", "JobDetails"):
        schemas[name]["properties"]["payload"] = {"type": "object", "description": "as it came in"}
    schemas["JobDetails"]["properties"]["result"] = {"description": "any JSON value, or null"}
    return {
        "openapi": "3.1.0",
        "info": {"title": "WorkQueue", "version": version, "description": "Errors are text/plain: one sentence."},
        "paths": _paths(),
        "components": {"schemas": schemas},
    }


def _paths() -> Json:
    job_id = _parameter("job_id", "path", {"type": "string", "format": "uuid"}, "a job's id")
    no_job = {400: "not a job id", 404: "job not found | jobs are stored only with DATABASE_URL"}
    state = {"type": "string", "enum": [*JobState, ""]}  # an empty value counts as absent
    limit = {
        "anyOf": [{"type": "integer", "minimum": 1, "maximum": LIMIT_MAX}, {"const": ""}],
        "default": LIMIT_DEFAULT,
    }
    older = {"headers": {"Link": {"description": 'rel="next": older runs', "schema": {"type": "string"}}}}
    before = {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 999_999_999}, {"const": ""}]}
    not_ready = _json_answer({"type": "object", "additionalProperties": {"type": "string"}})
    not_ready["description"] = "what is wrong with redis or postgres, and what to do"
    not_ready["content"] |= _text_answer("")["content"]  # of a server that is at its limit
    ready = _operation("ready", "Can it take and keep jobs", _text_answer("ready"))
    ready["responses"]["503"] = not_ready
    return {
        "/enqueue": {"post": _enqueue()},
        "/api/jobs": {
            "get": _operation(
                "list_jobs",
                "The jobs of this queue, newest first",
                _json_answer({"type": "array", "items": _ref("JobView")})
                | {"headers": {"Link": {"description": 'rel="next": the next page', "schema": {"type": "string"}}}},
                {400: "names the parameter and what is allowed", 500: "failed to list jobs"},
                [
                    _parameter("status", "query", state, "only jobs in this state"),
                    _parameter("type", "query", {"type": "string", "maxLength": TYPE_LENGTH_MAX}, "only this type"),
                    _parameter("limit", "query", limit, "jobs a page"),
                    _parameter("cursor", "query", {"type": "string"}, "from the Link header of the page before"),
                ],
            )
        },
        BATCH_PATH: {"post": _batch()},
        "/api/jobs/{job_id}": {
            "get": _operation(
                "get_job",
                "One job with its result, artifacts and newest runs",
                _json_answer(_ref("JobDetails")) | older,
                no_job | {500: "failed to read job"},
                [job_id],
            )
        },
        "/api/jobs/{job_id}/runs": {
            "get": _operation(
                "get_runs",
                "Older runs of a job than its own answer shows, in order",
                _json_answer({"type": "array", "items": _ref("Run")}) | older,
                no_job | {400: no_job[400] + " | before: must be a run's number", 500: "failed to read job"},
                [job_id, _parameter("before", "query", before, "only runs with a lower number")],
            )
        },
        "/api/jobs/{job_id}/artifact": {
            "get": _operation(
                "get_artifact",
                "What a job has made",
                {"description": "the bytes, with their own type", "content": {"*/*": {}}},
                no_job | {404: no_job[404] + " | artifact not found", 500: "failed to read artifact"},
                [job_id, _parameter("name", "query", {"type": "string"}, "which one; without: the first")],
            )
        },
        "/api/workers": {
            "get": _operation(
                "list_workers",
                "The workers that live now",
                _json_answer({"type": "array", "items": _ref("WorkerView")}),
                {500: "failed to read workers"},
            )
        },
        "/api/overview": {"get": _operation("overview", "The system at a glance", _json_answer(_ref("Overview")))},
        "/metrics": {
            "get": _operation(
                "metrics",
                "Sums over the workers that live now",
                _json_answer(_ref("Metrics")),
                {500: "failed to read queue length"},
            )
        },
        "/health": {"get": _operation("health", "Does the process serve", _text_answer("ok"))},
        "/ready": {"get": ready},
    }


def _enqueue() -> Json:
    errors = CHANGING | {
        400: f"invalid JSON body | type is required | retries cannot be negative | {ANSWERS[InvalidKey][1]}",
        422: "idempotency key reused with another body",
        500: "failed to persist job | failed to enqueue task",
    }
    key = _parameter(
        "Idempotency-Key",
        "header",
        {"type": "string", "minLength": 1, "maxLength": KEY_LENGTH_MAX, "pattern": "^[!-~]+$"},
        "the same key with the same body, byte by byte, makes one job and gets the same answer",
    )
    operation = _operation("enqueue", "Accept a job", _json_answer(_ref("EnqueueAnswer")), errors, [key])
    example = {"type": "send_email", "retries": 3, "payload": {"to": "someone@example.com", "subject": "Welcome!"}}
    content = {"application/json": {"schema": _ref("EnqueueRequest"), "example": example}}
    return operation | {"requestBody": {"required": True, "content": content}}


def _batch() -> Json:
    errors = CHANGING | {400: NO_KEY, 429: TOO_MANY_REQUESTS}
    answers = {"application/x-ndjson": {"schema": _ref("BatchAnswer")}}
    answers["application/json"] = {"schema": {"type": "array", "items": _ref("BatchAnswer")}}
    operation = _operation(
        "enqueue_batch",
        "Accept any number of jobs; each is answered, in order, when the body has ended",
        {"description": "in the form of the request: a line for a line, or an array", "content": answers},
        errors,
    )
    line = '{"type": "send_email", "payload": {"to": "someone@example.com"}}\n'
    content = {
        "application/x-ndjson": {"schema": _ref("EnqueueRequest"), "example": line * 2},
        "application/json": {"schema": {"type": "array", "items": _ref("EnqueueRequest")}},
    }
    return operation | {"requestBody": {"required": False, "content": content}}


def _operation(
    name: str, summary: str, answer: Json, errors: dict[int, str] | None = None, parameters: list[Json] | None = None
) -> Json:
    errors = ANYWHERE | (errors or {})
    responses = {"200": answer} | {str(status): _text_answer(body) for status, body in sorted(errors.items())}
    operation: Json = {"operationId": name, "summary": summary, "responses": responses}
    return operation | {"parameters": parameters} if parameters else operation


def _parameter(name: str, where: str, schema: Json, description: str) -> Json:
    return {"name": name, "in": where, "required": where == "path", "schema": schema, "description": description}


def _json_answer(schema: Json) -> Json:
    return {"description": "OK", "content": {"application/json": {"schema": schema}}}


def _text_answer(body: str) -> Json:
    return {"description": body, "content": {"text/plain": {"schema": {"type": "string"}}}}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}
