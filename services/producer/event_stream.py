"""GET /api/events: what happens now, as Server-Sent Events."""

from urllib.parse import parse_qsl

import trio
from werkzeug.datastructures import MultiDict

from workqueue.core.errors import JobsNotStored
from workqueue.services.http.live import LiveResponse
from workqueue.services.http.messages import Scope, values_of
from workqueue.services.http.responses import Refused
from workqueue.services.producer.backend import Backend
from workqueue.services.producer.events import Subscription, TooManyStreams
from workqueue.services.producer.parameters import EventsWanted, read_events_query

RETRY_MILLISECONDS = 2000  #: before a client comes back
QUIET_SECONDS = 15.0  #: without an event for so long, a comment is sent: proxies end what is silent
STOP_SECONDS = 0.5  #: for a client to take what was being sent, when the server ends
CONNECTIONS_SHARE = 2  #: streams take no more than half of all connections
TOO_MANY_STREAMS = "too many event streams"

BEGINNING = b"retry: %d\n\n" % RETRY_MILLISECONDS
COMMENT = b": \n\n"


async def stream_events(backend: Backend, scope: Scope, response: LiveResponse) -> None:
    """Send events until the server ends or the caller may no longer read them. Raises JobsNotStored and Refused."""
    wanted = _wanted(scope)
    if backend.events is None:
        raise JobsNotStored("events are of jobs that are stored")
    if scope["method"] == "HEAD":
        return
    limit = response.connections.limit // CONNECTIONS_SHARE
    try:
        with backend.events.subscribe(wanted.job_ids, wanted.since, limit=limit) as subscription:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_end_at, response.stopping, subscription, nursery.cancel_scope)
                await _send(subscription, response)
                nursery.cancel_scope.cancel()
    except TooManyStreams:
        raise Refused(503, TOO_MANY_STREAMS) from None


async def _send(subscription: Subscription, response: LiveResponse) -> None:
    piece = BEGINNING
    while piece and response.is_allowed():
        await response.send(piece)
        piece = COMMENT
        with trio.move_on_after(QUIET_SECONDS):
            piece = await subscription.take()


async def _end_at(stopping: trio.Event, subscription: Subscription, scope: trio.CancelScope) -> None:
    await stopping.wait()
    subscription.end()
    await trio.sleep(STOP_SECONDS)
    scope.cancel()


def _wanted(scope: Scope) -> EventsWanted:
    query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    last_event_ids = [value.decode("latin-1") for value in values_of(scope, b"last-event-id")]
    return read_events_query(MultiDict(query), last_event_ids)
