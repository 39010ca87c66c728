"""The table of all routes: what each row must say, and that the document says the same."""

import json

import pytest

from workqueue.core.api_tokens import Role
from workqueue.services.producer import openapi
from workqueue.services.producer.api import ROUTES
from workqueue.services.producer.routing import Fast, Live, Route, Streaming, proxied, reserved
from workqueue.services.producer.views import ListedJob

READING = {"GET", "HEAD"}


def of(route: Route) -> str:
    return f"{route.method} {route.path}"


def test_no_two_rows_are_of_one_path_and_method():
    assert len({route.key for route in ROUTES}) == len(ROUTES)


@pytest.mark.parametrize("route", ROUTES, ids=of)
def test_each_route_has_a_role_that_fits_its_method(route: Route):
    assert isinstance(route.role, Role)
    reading = {Role.PUBLIC, Role.ANY, Role.READ, Role.ADMIN}
    assert (route.role in reading) == (route.method in READING) or route.path == "/api/session"
    assert route.acts == (route.method not in READING and route.path not in {"/enqueue", "/api/jobs/batch"})


@pytest.mark.parametrize("route", ROUTES, ids=of)
def test_a_row_agrees_with_its_handler(route: Route):
    assert (route.body == "stream") == (route.answer == "stream") == isinstance(route.handler, Streaming)
    if isinstance(route.handler, Fast):
        assert (route.body, route.answer) == ("whole", "json")
    assert (route.answer == "events") == isinstance(route.handler, Live)
    if isinstance(route.handler, Fast | Streaming | Live):
        assert "{" not in route.path, "Guard looks for whole paths"
    if route.method in READING:
        assert route.body == "none"


@pytest.mark.parametrize("route", [route for route in ROUTES if route.operation], ids=of)
def test_an_operation_fits_its_row(route: Route):
    operation = route.operation
    assert operation is not None
    in_path = {parameter.name for parameter in operation.parameters if parameter.where == "path"}
    assert in_path == {segment.strip("{}") for segment in route.segments if segment.startswith("{")}
    assert (operation.takes is not None) == (route.body != "none")
    assert (operation.shows is not None) == (route.answer in {"json", "stream"})
    assert bool(operation.events) == (route.answer == "events")


def test_the_paths_of_the_contract_are_there():
    assert {of(route) for route in ROUTES} == {
        "POST /enqueue", "POST /api/jobs/batch", "GET /api/jobs", "GET /api/jobs/{job_id}",
        "GET /api/jobs/{job_id}/runs", "GET /api/jobs/{job_id}/artifact", "GET /api/workers", "GET /api/overview",
        "POST /api/workers/{worker_id}/quiet", "POST /api/workers/{worker_id}/resume",
        "POST /api/workers/{worker_id}/stop",
        "POST /api/jobs/{job_id}/cancel", "POST /api/jobs/{job_id}/retry", "POST /api/jobs/{job_id}/run-now",
        "DELETE /api/jobs/{job_id}", "GET /api/jobs/{job_id}/logs", "GET /api/jobs/{job_id}/tree",
        "POST /api/jobs/actions",
        "GET /api/actions", "GET /api/actions/{action_id}", "POST /api/actions/{action_id}/stop",
        "POST /api/types/{job_type}/pause", "POST /api/types/{job_type}/resume",
        "GET /api/schedules", "GET /api/schedules/{schedule_name}", "PUT /api/schedules/{schedule_name}",
        "DELETE /api/schedules/{schedule_name}", "POST /api/schedules/{schedule_name}/pause",
        "POST /api/schedules/{schedule_name}/resume", "POST /api/schedules/{schedule_name}/run-now",
        "GET /api/queues", "POST /api/queues/{queue_name}/pause", "POST /api/queues/{queue_name}/resume",
        "POST /api/queues/{queue_name}/purge",
        "GET /api/limits", "GET /api/limits/{scope}", "PUT /api/limits/{scope}", "DELETE /api/limits/{scope}",
        "GET /api/stats", "GET /api/events",
        "GET /metrics", "GET /health", "GET /ready", "GET /openapi.json",
        "GET /docs", "GET /", "GET /api/dead", "GET /api/dead/{dead_id}", "POST /api/dead/retry", "DELETE /api/dead",
        "GET /api/audit", "POST /api/session", "GET /api/session", "DELETE /api/session",
    }  # fmt: skip
    assert reserved(ROUTES) == {"api", "docs", "enqueue", "health", "metrics", "openapi.json", "ready"}
    assert proxied(ROUTES) == ["/api", "/enqueue", "/health", "/metrics", "/openapi.json", "/ready"]


async def test_the_document_names_every_route_and_its_fields(redis_only, client):
    document = (await redis_only.get("/openapi.json")).json()
    assert document == json.loads(json.dumps(openapi.document(ROUTES, openapi.our_version())))
    assert document["openapi"].startswith("3.1")
    said = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert said == {of(route) for route in ROUTES} - {"GET /openapi.json", "GET /docs", "GET /"}
    ids = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(set(ids)) == len(ids)
    schemas = document["components"]["schemas"]
    assert list(schemas["ListedJob"]["properties"]) == list(ListedJob.__struct_fields__)
    example = document["paths"]["/enqueue"]["post"]["requestBody"]["content"]["application/json"]["example"]
    await client.post("/enqueue", json=example)
    (row,) = (await client.get("/api/jobs")).json()
    assert set(row) == set(schemas["ListedJob"]["properties"])
    assert {reference.rpartition("/")[2] for reference in _references(document)} <= set(schemas)


def test_what_we_always_send_is_required_and_what_a_client_may_leave_out_is_not():
    schemas = openapi.document(ROUTES, "1")["components"]["schemas"]
    for name in (
        "JobView",
        "ListedJob",
        "JobDetails",
        "Run",
        "ArtifactHead",
        "WorkerView",
        "RunningJob",
        "Overview",
        "Metrics",
    ):
        assert schemas[name]["required"] == list(schemas[name]["properties"]), name
    assert schemas["EnqueueRequest"]["required"] == ["type"]
    assert schemas["EnqueueAnswer"]["required"] == ["status", "type", "retries", "queue_name"]  # job_id: with Postgres
    assert schemas["BatchAnswer"]["required"] == ["index"]


def _references(value: object) -> list[str]:
    return [part.partition('"')[0] for part in json.dumps(value).split('"$ref": "')[1:]]
