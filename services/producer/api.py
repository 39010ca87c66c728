"""All paths of the producer. A new route is one more row here and its handler.

What is made from a row: Quart's rule and the 405 of other methods, Guard's fast routes and streams, the OpenAPI
document and the page's types, the dashboard's reserved paths, the dev proxy. (routing.py, openapi.py, `make generate`)
"""

from typing import Annotated

from msgspec import Meta
from quart import Response

from workqueue.core.api_tokens import Role
from workqueue.core.dead_letter import ID_LENGTH
from workqueue.core.errors import (
    EnqueueFailed,
    InvalidKey,
    InvalidTask,
    KeyReused,
    PersistFailed,
    RetriesNegative,
    TypeMissing,
)
from workqueue.core.options import QUEUE_NAME, SENTENCES
from workqueue.core.schedules import NAME_LENGTH_MAX
from workqueue.core.schedules import SENTENCES as SCHEDULE_SENTENCES
from workqueue.core.steps.submit_once import KEY_LENGTH_MAX
from workqueue.core.store import Run
from workqueue.core.wire import TYPE_LENGTH_MAX
from workqueue.services.http.responses import json
from workqueue.services.job_tree import JobTree
from workqueue.services.producer import (
    actions,
    acts,
    audit,
    dead,
    errors,
    event_stream,
    jobs,
    limits,
    openapi,
    pauses,
    queues,
    schedules,
    session,
    state,
    stats,
    trees,
    workers,
)
from workqueue.services.producer.backend import Backend
from workqueue.services.producer.bulk import NO_KEY, TOO_MANY_REQUESTS, Bulk
from workqueue.services.producer.dashboard import Dashboard
from workqueue.services.producer.enqueue import fast_enqueue
from workqueue.services.producer.errors import ERROR_RESPONSES
from workqueue.services.producer.events import ChangedJobs, WatchedJob
from workqueue.services.producer.openapi import JSON, NDJSON, Operation, Parameter, our_version
from workqueue.services.producer.parameters import (
    AFTER,
    AUDIT_PAGE,
    BEFORE,
    DEAD_PAGE,
    EVENTS,
    FILTER,
    SCHEDULE_PAGE,
    STATS,
    WAIT,
)
from workqueue.services.producer.routing import Fast, Live, PageView, Route, Streaming, View
from workqueue.services.producer.views import (
    BatchAnswer,
    DeadLetterChoice,
    DeadLetterView,
    DeletedView,
    EnqueueAnswer,
    EnqueueRequest,
    JobDetails,
    JobView,
    ListedJob,
    LogView,
    Metrics,
    Overview,
    RetriedView,
    TypeView,
    WorkerView,
)


def _messages(*errors: type[Exception]) -> str:
    return " | ".join(ERROR_RESPONSES[error][1] or "" for error in errors)


async def _openapi_json(_: Backend) -> Response:
    return json(openapi.document(ROUTES, our_version()))


JOB_ID = Parameter("job_id", "path", {"type": "string", "format": "uuid"}, "a job's id")
WORKER_ID = Parameter("worker_id", "path", {"type": "string", "format": "uuid"}, "a worker's id")
QUEUE = Parameter("queue_name", "path", {"type": "string", "pattern": QUEUE_NAME}, "a queue")
NO_JOB = {400: jobs.NOT_A_JOB_ID, 404: f"{jobs.JOB_NOT_FOUND} | {errors.ONLY_WITH_DATABASE}"}
JOB_TYPE = Parameter(
    "job_type", "path", {"type": "string", "minLength": 1, "maxLength": TYPE_LENGTH_MAX}, "a type of jobs"
)
ACTION_ID = Parameter("action_id", "path", {"type": "string", "format": "uuid"}, "an action's id")
NO_ACTION = {400: actions.NOT_AN_ACTION_ID, 404: f"{actions.ACTION_NOT_FOUND} | {errors.ONLY_WITH_DATABASE}"}
DEAD_ID = Parameter(
    "dead_id", "path", {"type": "string", "pattern": f"^[0-9a-f]{{{ID_LENGTH}}}$"}, "a dead letter's id"
)
SCHEDULE = Parameter(
    "schedule_name", "path", {"type": "string", "minLength": 1, "maxLength": NAME_LENGTH_MAX}, "a schedule's name"
)
NO_SCHEDULE = {404: f"{schedules.SCHEDULE_NOT_FOUND} | {errors.ONLY_WITH_DATABASE}"}
#: One of both members, and not none of them.
DEAD_CHOICE = Annotated[
    DeadLetterChoice, Meta(extra_json_schema={"oneOf": [{"required": ["ids"]}, {"required": ["all"]}]})
]
OLDER_RUNS = 'rel="next": older runs'
EXAMPLE = {"type": "send_email", "retries": 3, "payload": {"to": "someone@example.com", "subject": "Welcome!"}}

ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/enqueue",
        Role.ENQUEUE,
        Fast(fast_enqueue),
        Operation(
            id="enqueue",
            summary="Accept a job",
            takes=EnqueueRequest,
            examples={JSON: EXAMPLE},
            shows=EnqueueAnswer,
            errors={
                400: " | ".join((_messages(InvalidTask, TypeMissing, RetriesNegative, InvalidKey), *SENTENCES)),
                422: _messages(KeyReused),
                500: _messages(PersistFailed, EnqueueFailed),
            },
            parameters=(
                Parameter(
                    "Idempotency-Key",
                    "header",
                    {"type": "string", "minLength": 1, "maxLength": KEY_LENGTH_MAX, "pattern": "^[!-~]+$"},
                    "the same key with the same body, byte by byte, makes one job and gets the same answer",
                ),
            ),
        ),
        body="whole",
    ),
    Route(
        "GET",
        "/api/jobs",
        Role.READ,
        View(jobs.list_jobs),
        Operation(
            id="list_jobs",
            summary="The jobs of this queue, newest first",
            shows=list[ListedJob],
            link='rel="next": the next page',
            errors={400: "names the parameter and what is allowed", 500: jobs.LIST_FAILED},
            parameters=FILTER,
        ),
    ),
    Route(
        "POST",
        "/api/jobs/batch",
        Role.ENQUEUE,
        Streaming(Bulk),
        Operation(
            id="enqueue_batch",
            summary="Accept any number of jobs; each is answered, in order, when the body has ended",
            takes=EnqueueRequest,
            examples={NDJSON: '{"type": "send_email", "payload": {"to": "someone@example.com"}}\n' * 2},
            shows=BatchAnswer,
            description="in the form of the request: a line for a line, or an array",
            errors={400: NO_KEY, 429: TOO_MANY_REQUESTS},
        ),
        body="stream",
        answer="stream",
    ),
    Route(
        "POST",
        "/api/jobs/actions",
        Role.OPERATE,
        View(actions.ask),
        Operation(
            id="act_on_jobs",
            summary="Cancel, retry, run now or delete all jobs that match; workers do it, in small pieces",
            takes=actions.ActionRequest,
            examples={JSON: {"action": "retry", "filter": {"status": "failed", "type": "send_email"}, "dry_run": True}},
            shows=actions.Matched,
            description="a dry run: how many jobs match",
            other_json={202: ("workers do it", actions.ActionAccepted)},
            errors={
                400: "names the member and what is allowed",
                404: errors.ONLY_WITH_DATABASE,
                409: "how many jobs match, where `expected` is not given, or away from it by more than 10 and a tenth",
                500: f"{actions.COUNT_FAILED} | {actions.ASK_FAILED}",
            },
        ),
        body="whole",
    ),
    Route(
        "GET",
        "/api/jobs/{job_id}",
        Role.READ,
        View(jobs.get_job),
        Operation(
            id="get_job",
            summary="One job with its result, artifacts and newest runs",
            shows=JobDetails,
            link=OLDER_RUNS,
            errors=NO_JOB
            | {
                400: f"{NO_JOB[400]} | wait: must be a whole number of seconds from 0 to 60",
                500: jobs.READ_FAILED,
                503: f"{openapi.ANYWHERE[503]} | {jobs.TOO_MANY_WAIT}",
            },
            parameters=(JOB_ID, WAIT),
        ),
    ),
    Route(
        "GET",
        "/api/jobs/{job_id}/runs",
        Role.READ,
        View(jobs.get_runs),
        Operation(
            id="get_runs",
            summary="Older runs of a job than its own answer shows, in order",
            shows=list[Run],
            link=OLDER_RUNS,
            errors=NO_JOB | {400: f"{NO_JOB[400]} | before: must be a run's number", 500: jobs.READ_FAILED},
            parameters=(JOB_ID, BEFORE),
        ),
    ),
    Route(
        "GET",
        "/api/jobs/{job_id}/logs",
        Role.READ,
        View(jobs.get_logs),
        Operation(
            id="get_logs",
            summary="The lines that the handler of a job has logged, in order: the newest 1,000",
            shows=list[LogView],
            errors=NO_JOB
            | {400: f"{NO_JOB[400]} | after: must be the number of a line, given once", 500: jobs.READ_FAILED},
            parameters=(JOB_ID, AFTER),
        ),
    ),
    Route(
        "GET",
        "/api/jobs/{job_id}/tree",
        Role.READ,
        View(trees.get_tree),
        Operation(
            id="get_tree",
            summary="Inside a running job: its Trio tasks, where each waits, their nurseries and scopes, and threads",
            shows=JobTree,
            errors=NO_JOB
            | {
                409: trees.NOT_RUNNING,
                429: trees.TOO_MANY_ASK,
                500: f"{jobs.READ_FAILED} | {trees.ASK_FAILED}",
                504: trees.NO_ANSWER,
            },
            parameters=(JOB_ID,),
        ),
    ),
    Route(
        "GET",
        "/api/jobs/{job_id}/artifact",
        Role.READ,
        View(jobs.get_artifact),
        Operation(
            id="get_artifact",
            summary="What a job has made",
            description="the bytes, with their own type",
            errors=NO_JOB | {404: f"{NO_JOB[404]} | {jobs.ARTIFACT_NOT_FOUND}", 500: jobs.ARTIFACT_FAILED},
            parameters=(
                JOB_ID,
                Parameter("name", "query", {"type": "string"}, "which one; without: the first"),
            ),
        ),
        answer="bytes",
    ),
    *(
        Route(
            "POST",
            f"/api/jobs/{{job_id}}/{name}",
            Role.OPERATE,
            View(view),
            Operation(
                id=f"{name.replace('-', '_')}_job",
                summary=summary,
                shows=JobView,
                errors=NO_JOB | {409: refusal, 500: acts.ACT_FAILED},
                parameters=(JOB_ID,),
            ),
        )
        for name, view, summary, refusal in (
            ("cancel", acts.cancel_job, "End a job that waits; ask one that runs to end", acts.HAS_ENDED),
            ("retry", acts.retry_job, "Run a failed or cancelled job again, as if anew", acts.CANNOT_RETRY),
            ("run-now", acts.run_job_now, "Run a job that waits for a time", acts.WAITS_FOR_NOTHING),
        )
    ),
    Route(
        "DELETE",
        "/api/jobs/{job_id}",
        Role.OPERATE,
        View(acts.delete_job),
        Operation(
            id="delete_job",
            summary="Delete a job that has ended, with its runs and artifacts",
            description="it is deleted",
            errors=NO_JOB | {409: acts.HAS_NOT_ENDED, 500: acts.ACT_FAILED},
            parameters=(JOB_ID,),
        ),
        answer="none",
    ),
    Route(
        "GET",
        "/api/stats",
        Role.READ,
        View(stats.get_stats),
        Operation(
            id="get_stats",
            summary="What happened lately, by span of time and type, and what fails",
            shows=stats.StatsView,
            errors={
                400: "names the parameter and what is allowed",
                404: errors.ONLY_WITH_DATABASE,
                500: stats.STATS_FAILED,
            },
            parameters=STATS,
        ),
    ),
    *(
        Route(
            "POST",
            f"/api/types/{{job_type}}/{name}",
            Role.OPERATE,
            View(view),
            Operation(
                id=f"{name}_type",
                summary=summary,
                shows=TypeView,
                errors={400: pauses.NOT_A_TYPE, 404: errors.ONLY_WITH_DATABASE, 500: pauses.PAUSE_FAILED} | more,
                parameters=(JOB_TYPE,),
            ),
        )
        for name, view, summary, more in (
            ("pause", pauses.pause_type, "Start no more jobs of a type", {409: pauses.TOO_MANY_PAUSED}),
            ("resume", pauses.resume_type, "Run the jobs of a paused type again", {}),
        )
    ),
    Route(
        "GET",
        "/api/queues",
        Role.READ,
        View(queues.list_queues),
        Operation(
            id="list_queues",
            summary="The queues, and what is in them",
            shows=list[queues.QueueView],
            errors={404: errors.ONLY_WITH_DATABASE, 500: queues.QUEUES_FAILED},
        ),
    ),
    *(
        Route(
            "POST",
            f"/api/queues/{{queue_name}}/{name}",
            Role.OPERATE,
            View(view),
            Operation(
                id=f"{name}_queue",
                summary=summary,
                shows=queues.PausedQueue,
                errors={
                    400: queues.NOT_A_QUEUE,
                    404: f"{queues.QUEUE_NOT_FOUND} | {errors.ONLY_WITH_DATABASE}",
                    500: pauses.PAUSE_FAILED,
                }
                | more,
                parameters=(QUEUE,),
            ),
        )
        for name, view, summary, more in (
            ("pause", queues.pause_queue, "Claim no more jobs of a queue", {409: queues.TOO_MANY_PAUSED}),
            ("resume", queues.resume_queue, "Claim jobs of a paused queue again", {}),
        )
    ),
    Route(
        "POST",
        "/api/queues/{queue_name}/purge",
        Role.OPERATE,
        View(queues.purge_queue),
        Operation(
            id="purge_queue",
            summary="Cancel all jobs that wait in a queue; workers do it, in small pieces",
            takes=queues.Purge,
            examples={JSON: {"confirm": "mail"}},
            shows=actions.ActionAccepted,
            errors={
                400: f"{queues.NOT_A_QUEUE} | {queues.NOT_CONFIRMED} | {openapi.INVALID_JSON}",
                404: f"{queues.QUEUE_NOT_FOUND} | {errors.ONLY_WITH_DATABASE}",
                409: queues.NOT_CONFIRMED,
                500: actions.ASK_FAILED,
            },
            parameters=(QUEUE,),
        ),
        body="whole",
    ),
    *limits.ROUTES,
    Route(
        "GET",
        "/api/schedules",
        Role.READ,
        View(schedules.list_schedules),
        Operation(
            id="list_schedules",
            summary="The schedules in the order of their names, each with its next five runs",
            shows=list[schedules.ScheduleView],
            link='rel="next": the next page',
            errors={
                400: "names the parameter and what is allowed",
                404: errors.ONLY_WITH_DATABASE,
                500: schedules.READ_FAILED,
            },
            parameters=SCHEDULE_PAGE,
        ),
    ),
    Route(
        "GET",
        "/api/schedules/{schedule_name}",
        Role.READ,
        View(schedules.get_schedule),
        Operation(
            id="get_schedule",
            summary="One schedule with its next five runs",
            shows=schedules.ScheduleView,
            errors=NO_SCHEDULE | {500: schedules.READ_FAILED},
            parameters=(SCHEDULE,),
        ),
    ),
    Route(
        "PUT",
        "/api/schedules/{schedule_name}",
        Role.OPERATE,
        View(schedules.put_schedule),
        Operation(
            id="put_schedule",
            summary="Create a schedule, or give it another definition",
            takes=schedules.ScheduleRequest,
            examples={
                JSON: {
                    "cron": "0 9 * * mon-fri",
                    "tz": "Europe/Berlin",
                    "type": "send_email",
                    "payload": {"to": "someone@example.com", "subject": "Good morning"},
                },
            },
            shows=schedules.ScheduleView,
            errors={
                400: " | ".join((openapi.INVALID_JSON, *SCHEDULE_SENTENCES)),
                404: errors.ONLY_WITH_DATABASE,
                409: schedules.DECLARED,
                500: f"{schedules.CHANGE_FAILED} | {schedules.READ_FAILED}",
            },
            parameters=(SCHEDULE,),
        ),
        body="whole",
    ),
    Route(
        "DELETE",
        "/api/schedules/{schedule_name}",
        Role.OPERATE,
        View(schedules.delete_schedule),
        Operation(
            id="delete_schedule",
            summary="Delete a schedule; its jobs stay",
            description="it is deleted",
            errors=NO_SCHEDULE | {409: schedules.DECLARED, 500: f"{schedules.CHANGE_FAILED} | {schedules.READ_FAILED}"},
            parameters=(SCHEDULE,),
        ),
        answer="none",
    ),
    *(
        Route(
            "POST",
            f"/api/schedules/{{schedule_name}}/{name}",
            Role.OPERATE,
            View(view),
            Operation(
                id=f"{name.replace('-', '_')}_schedule",
                summary=summary,
                shows=shows,
                errors=NO_SCHEDULE | {409: conflicts, 500: f"{schedules.CHANGE_FAILED} | {schedules.READ_FAILED}"},
                parameters=(SCHEDULE,),
            ),
        )
        for name, view, summary, shows, conflicts in (
            (
                "pause",
                schedules.pause_schedule,
                "Make no more jobs of a schedule",
                schedules.ScheduleView,
                schedules.CHANGED_MEANWHILE,
            ),
            (
                "resume",
                schedules.resume_schedule,
                "Make jobs of a paused schedule again; what was due meanwhile makes none",
                schedules.ScheduleView,
                f"{schedules.NOT_DECLARED} | {schedules.CHANGED_MEANWHILE}",
            ),
            (
                "run-now",
                schedules.run_now,
                "Make a job of a schedule at once; its due times stay",
                schedules.ScheduleRun,
                schedules.CHANGED_MEANWHILE,
            ),
        )
    ),
    Route(
        "GET",
        "/api/actions",
        Role.READ,
        View(actions.list_actions),
        Operation(
            id="list_actions",
            summary="What was done to many jobs, and how far it is: the newest 50",
            shows=list[actions.ActionView],
            errors={404: errors.ONLY_WITH_DATABASE, 500: actions.READ_FAILED},
        ),
    ),
    Route(
        "GET",
        "/api/actions/{action_id}",
        Role.READ,
        View(actions.get_action),
        Operation(
            id="get_action",
            summary="How far an action is",
            shows=actions.ActionView,
            errors=NO_ACTION | {500: actions.READ_FAILED},
            parameters=(ACTION_ID,),
        ),
    ),
    Route(
        "POST",
        "/api/actions/{action_id}/stop",
        Role.OPERATE,
        View(actions.stop_action),
        Operation(
            id="stop_action",
            summary="Stop an action where it is",
            shows=actions.ActionView,
            errors=NO_ACTION | {500: f"{actions.STOP_FAILED} | {actions.READ_FAILED}"},
            parameters=(ACTION_ID,),
        ),
    ),
    Route(
        "GET",
        "/api/dead",
        Role.READ,
        View(dead.list_dead_letters),
        Operation(
            id="list_dead_letters",
            summary="Tasks that cannot run, and without DATABASE_URL failed jobs, newest first",
            shows=list[DeadLetterView],
            link='rel="next": the next page',
            total="how many there are on all pages",
            errors={400: "names the parameter and what is allowed", 500: dead.DEAD_LIST_FAILED},
            parameters=DEAD_PAGE,
        ),
    ),
    Route(
        "GET",
        "/api/dead/{dead_id}",
        Role.READ,
        View(dead.get_dead_letter),
        Operation(
            id="get_dead_letter",
            summary="One dead letter with its whole task",
            shows=DeadLetterView,
            errors={400: dead.NOT_A_DEAD_LETTER_ID, 404: dead.DEAD_LETTER_NOT_FOUND, 500: dead.DEAD_READ_FAILED},
            parameters=(DEAD_ID,),
        ),
    ),
    Route(
        "POST",
        "/api/dead/retry",
        Role.OPERATE,
        View(dead.retry_dead_letters),
        Operation(
            id="retry_dead_letters",
            summary="Enqueue the tasks of dead letters again, as if anew; what is no task stays",
            takes=DEAD_CHOICE,
            shows=RetriedView,
            errors={400: dead.NO_CHOICE, 500: dead.DEAD_ACT_FAILED},
        ),
        body="whole",
    ),
    Route(
        "DELETE",
        "/api/dead",
        Role.OPERATE,
        View(dead.delete_dead_letters),
        Operation(
            id="delete_dead_letters",
            summary="Delete dead letters",
            takes=DEAD_CHOICE,
            shows=DeletedView,
            errors={400: dead.NO_CHOICE, 500: dead.DEAD_ACT_FAILED},
        ),
        body="whole",
    ),
    Route(
        "GET",
        "/api/workers",
        Role.READ,
        View(workers.list_workers),
        Operation(
            id="list_workers",
            summary="The workers that are alive, and those that ended within the last hour",
            shows=list[WorkerView],
            errors={500: workers.WORKERS_FAILED},
        ),
    ),
    *(
        Route(
            "POST",
            f"/api/workers/{{worker_id}}/{name}",
            Role.OPERATE,
            View(view),
            Operation(
                id=f"{name}_worker",
                summary=summary,
                shows=WorkerView,
                errors={404: workers.WORKER_NOT_FOUND, 500: f"{workers.WORKERS_FAILED} | {workers.ASK_FAILED}"},
                parameters=(WORKER_ID,),
            ),
        )
        for name, view, summary in (
            ("quiet", workers.quiet_worker, "A worker claims no more, gives back what waits in it, finishes what runs"),
            ("resume", workers.resume_worker, "A quiet worker claims again"),
            ("stop", workers.stop_worker, "A worker stops, as by SIGTERM"),
        )
    ),
    Route(
        "GET",
        "/api/overview",
        Role.READ,
        View(state.overview),
        Operation(id="overview", summary="The system at a glance", shows=Overview),
    ),
    Route(
        "GET",
        "/api/events",
        Role.READ,
        Live(event_stream.stream_events),
        Operation(
            id="watch_events",
            summary="What happens now, as Server-Sent Events, until the client goes or the producer ends",
            events={"counts": Overview, "jobs": ChangedJobs, "job": WatchedJob},
            errors={
                400: "names the parameter and what is allowed",
                404: errors.ONLY_WITH_DATABASE,
                503: f"{openapi.ANYWHERE[503]} | {event_stream.TOO_MANY_STREAMS}",
            },
            parameters=EVENTS,
        ),
        answer="events",
    ),
    Route(
        "GET",
        "/metrics",
        Role.READ,
        View(state.metrics),
        Operation(
            id="metrics",
            summary="Sums over the workers that are alive now",
            shows=Metrics,
            errors={500: state.METRICS_FAILED},
        ),
    ),
    Route(
        "GET",
        "/api/audit",
        Role.ADMIN,
        View(audit.list_audit),
        Operation(
            id="list_audit",
            summary="What people have done to jobs and dead letters, newest first, for 90 days",
            shows=list[audit.AuditView],
            link='rel="next": the next page',
            errors={
                400: "names the parameter and what is allowed",
                404: errors.ONLY_WITH_DATABASE,
                500: audit.AUDIT_FAILED,
            },
            parameters=AUDIT_PAGE,
        ),
    ),
    Route(
        "POST",
        "/api/session",
        Role.PUBLIC,  # the token is in its body
        View(session.open_session),
        Operation(
            id="open_session",
            summary="Exchange a token for the cookie of a session, as the page does",
            takes=session.SessionRequest,
            shows=session.SessionView,
            errors={400: session.BAD_BODY, 404: session.NO_TOKENS},
        ),
        body="whole",
    ),
    Route(
        "GET",
        "/api/session",
        Role.ANY,
        View(session.get_session),
        Operation(id="get_session", summary="Whose token or session this is", shows=session.SessionView),
    ),
    Route(
        "DELETE",
        "/api/session",
        Role.ANY,
        View(session.close_session),
        Operation(id="close_session", summary="Take the cookie away", description="it is taken away"),
        answer="none",
    ),
    Route(
        "GET",
        "/health",
        Role.PUBLIC,
        View(state.health),
        Operation(id="health", summary="Does the process serve", description="ok"),
        answer="text",
    ),
    Route(
        "GET",
        "/ready",
        Role.ANY,
        View(state.ready),
        Operation(
            id="ready",
            summary="Can it take and keep jobs",
            description="ready",
            other_json={503: ("what is wrong with redis or postgres, and what to do", dict[str, str])},
        ),
        answer="text",
    ),
    Route("GET", "/openapi.json", Role.ANY, View(_openapi_json), None),
    Route("GET", "/docs", Role.ANY, PageView(Dashboard.docs), None, answer="text"),
    Route("GET", "/", Role.PUBLIC, PageView(Dashboard.index), None, answer="text"),
)
