"""`@handler`, and the registry that knows which function runs which type of job."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from workqueue.core.errors import InvalidOption
from workqueue.core.job import Job
from workqueue.core.limits import RATE_MAX, RUNNING_MAX, Limit, check_scope, make_limit, read_rate
from workqueue.core.options import DEFAULT_QUEUE, RETRIES_MAX, is_queue_name
from workqueue.core.payloads import PLAIN, PayloadType, annotated_payload, payload_type
from workqueue.core.policies import NO_POLICY, Backoff, ExceptionTypes, Policy, exception_types
from workqueue.core.schedules import Schedule, make_schedule

TYPE_LENGTH_MAX = 200
RUNTIMES = ("trio", "thread", "asyncio")

HandlerFunction = Callable[[Job[Any]], Awaitable[object]] | Callable[[Job[Any]], object]
F = TypeVar("F", bound=HandlerFunction)


class Declared(Protocol):
    """A type of jobs that was declared apart from its handler (workqueue.declare)."""

    @property
    def type(self) -> str:
        """Of its jobs."""

    @property
    def payload(self) -> Any:
        """The type of their payloads."""


class Handler(Struct, frozen=True):
    """A function and how it wants to be run."""

    type: str
    function: HandlerFunction
    is_async: bool  #: it runs in Trio's loop itself; False: in another runtime
    timeout_seconds: float | None
    payload: PayloadType = PLAIN
    policy: Policy = NO_POLICY
    retries: int = 0  #: of jobs that are enqueued by this program, where they do not say it themselves
    queue: str = DEFAULT_QUEUE  #: the same
    runtime: str = "thread"  #: where it runs if not there: `thread` or `asyncio`
    is_builtin: bool = False  #: ours: it may say that the machine did not give what a run needs (CannotStart)

    @property
    def can_be_cancelled(self) -> bool:
        """A thread can only be asked."""
        return self.is_async or self.runtime == "asyncio"


class Every(Struct, frozen=True):
    """A time that passes between two jobs (`every`)."""

    seconds: float


def every(*, seconds: float = 0, minutes: float = 0, hours: float = 0, days: float = 0) -> Every:
    """For `periodic`: a job each time so much time has passed; one second at the least."""
    return Every(seconds + 60 * minutes + 3600 * hours + 86_400 * days)


class Registry:
    """Type of job -> handler, and the schedules. Filled while modules are imported, read by the worker."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}
        self._schedules: dict[str, Schedule] = {}
        self._limits: dict[str, Limit] = {}
        self._undecided: set[str] = set()  #: types whose coroutine functions do not say where they run

    def handler(
        self,
        job_type: str | Declared,
        *,
        timeout: float | None = None,
        retries: int = 0,
        queue: str = DEFAULT_QUEUE,
        backoff: Backoff | None = None,
        retry_on: type[BaseException] | ExceptionTypes = (),
        discard_on: type[BaseException] | ExceptionTypes = (),
        running: int | None = None,
        rate: str | None = None,
        runtime: Literal["trio", "thread", "asyncio"] | None = None,
    ) -> Callable[[F], F]:
        """Register the decorated function for jobs of `job_type`; a plain function runs in a thread.

        Where its parameter is annotated as `Job[X]`, or `job_type` was declared with a type of payloads, the payload is
        decoded as that; a job whose payload does not fit fails at once, naming the field.

        A plain function may return a coroutine (one behind functools.wraps does, a lambda may): it is awaited.

        `timeout` in seconds bounds each run (None: no bound): a coroutine is cancelled then with all that it started;
        a thread cannot be stopped, so its job fails and the thread keeps its place until it returns.
        `retries` and `queue` are those of jobs that this program enqueues; a request to the producer says its own.
        `backoff`: how long a job waits after a failure. `retry_on`: only failures with these exceptions are retried;
        `discard_on`: those with these are not (a run that took too long is retried in any case).
        `running`: at most so many of its jobs run at once, on all workers together. `rate`: at most so many start in a
        time, such as "100/60s" or "5/m". What a person sets for the type goes before both (core/limits.py).
        `runtime`: `asyncio` for a coroutine function that uses libraries of asyncio: it runs in a loop of asyncio, in
        a thread; what it has started and not awaited is cancelled when it ends. Without it, Trio runs coroutine
        functions, and threads plain ones.
        A later registration of the same type wins, so that users can replace a built-in handler.
        Raises ValueError for a type that no task can have, an option that is out of range, and for what cannot be
        called with a job and run.
        """
        declared = None if isinstance(job_type, str) else getattr(job_type, "payload", None)
        job_type = job_type if isinstance(job_type, str) else getattr(job_type, "type", job_type)
        if not isinstance(job_type, str):
            raise ValueError(f'{_name(job_type)}: a handler needs the type of its jobs, such as @handler("send_email")')
        if not job_type or len(job_type) > TYPE_LENGTH_MAX:
            raise ValueError(f"handler {job_type!r}: a type has 1 to {TYPE_LENGTH_MAX} characters")
        if timeout is not None and not timeout > 0:
            raise ValueError(f"handler {job_type!r}: timeout={timeout!r}: it must be above 0 seconds")
        if not isinstance(retries, int) or not 0 <= retries <= RETRIES_MAX:
            raise ValueError(
                f"handler {job_type!r}: retries={retries!r}: must be a whole number from 0 to {RETRIES_MAX}"
            )
        if not isinstance(queue, str) or not is_queue_name(queue):
            raise ValueError(f"handler {job_type!r}: queue={queue!r}: a queue has 1 to 64 letters, digits, - and _")
        if backoff is not None and not isinstance(backoff, Backoff):
            raise ValueError(f"handler {job_type!r}: backoff={backoff!r}: must be a Backoff(base=..., cap=...)")
        try:
            kinds = exception_types("retry_on", retry_on), exception_types("discard_on", discard_on)
        except ValueError as error:
            raise ValueError(f"handler {job_type!r}: {error}") from None
        policy = Policy(backoff, *kinds)
        policy = NO_POLICY if policy == NO_POLICY else policy
        limit = _declared_limit(job_type, running, rate)

        def register(function: F) -> F:
            if (fault := _fault(function)) is not None:
                raise ValueError(f"handler {job_type!r}: {_name(function)} {fault}")
            payload = _payload_type(job_type, function, declared)
            runs_in = _runtime(job_type, function, runtime)
            self._handlers[job_type] = Handler(
                job_type, function, runs_in == "trio", timeout, payload, policy, retries, queue, runs_in
            )
            self._undecided.discard(job_type)
            if runtime is None and runs_in == "trio":
                self._undecided.add(job_type)
            self._limits.pop(f"type:{job_type}", None)
            if limit is not None:
                self._limits[f"type:{job_type}"] = limit
            return function

        return register

    def periodic(
        self,
        when: str | Every,
        *,
        name: str | None = None,
        tz: str = "UTC",
        payload: Mapping[str, object] | None = None,
        missed: str = "once",
        overlap: str = "allow",
        jitter: float = 0.0,
        retries: int | None = None,
        queue: str | None = None,
        timeout: float | None = None,
        expires_in: float | None = None,
    ) -> Callable[[F], F]:
        """Declare a schedule for jobs of the decorated handler: it stands above `@handler`.

        `when`: a cron expression of five fields, read in the time zone `tz`, or `every(seconds=30)`. `name`: of the
        schedule; the type of its jobs where it is the only one. `missed`: what becomes of times at which no worker was
        there: `skip`, `once` or `all`. `overlap`: what becomes of a time while the last job goes on: `allow`, `skip` or
        `wait`. `jitter`: each job waits for a random part of so many seconds. `retries` and `queue`: instead of the
        handler's. The worker that starts writes the schedule down; one that no worker declares any more is paused.
        Raises ValueError for what is no schedule, and for a name that there is already.
        """

        def declare(function: F) -> F:
            types = [each.type for each in self._handlers.values() if each.function is function]
            if not types:
                raise ValueError(f"periodic {when!r}: put it above @handler(...), which says the type of its jobs")
            found = self._handlers[types[-1]]
            members = {
                "every" if isinstance(when, Every) else "cron": when.seconds if isinstance(when, Every) else when,
                "tz": tz,
                "type": found.type,
                "payload": {} if payload is None else payload,
                "missed": missed,
                "overlap": overlap,
                "jitter": jitter,
                "retries": found.retries if retries is None else retries,
                "queue": found.queue if queue is None else queue,
                "timeout": timeout,
                "expires_in": expires_in,
            }
            called = found.type if name is None else name
            try:
                schedule = make_schedule(called, members)
            except InvalidOption as error:
                raise ValueError(f"periodic {when!r} of {found.type!r}: {error}") from None
            if called in self._schedules:
                raise ValueError(f"periodic {when!r} of {found.type!r}: there is a schedule {called!r}: give it a name")
            self._schedules[called] = schedule
            return function

        return declare

    def decide(self, runtime: str) -> None:
        """Coroutine functions that do not say where they run, run there: `trio` or `asyncio`."""
        for job_type in self._undecided:
            handler = self._handlers[job_type]
            self._handlers[job_type] = replace(handler, is_async=runtime == "trio", runtime=runtime)

    def uses(self, runtime: str) -> bool:
        """Does any handler run there?"""
        return any(each.runtime == runtime for each in self._handlers.values())

    @property
    def schedules(self) -> list[Schedule]:
        """Every schedule that is declared here, sorted by name."""
        return [self._schedules[name] for name in sorted(self._schedules)]

    @property
    def limits(self) -> dict[str, Limit]:
        """Every limit that is declared here, by scope."""
        return dict(self._limits)

    def add_builtin(self, job_type: str, function: Callable[[Job], Awaitable[object]], timeout: float) -> None:
        """Register a coroutine function of WorkQueue itself, unless a user's module has registered the type."""
        self._handlers.setdefault(job_type, Handler(job_type, function, True, timeout, runtime="trio", is_builtin=True))

    def get(self, job_type: str) -> Handler | None:
        return self._handlers.get(job_type)

    @property
    def types(self) -> list[str]:
        """Every type that can run here, sorted."""
        return sorted(self._handlers)


def _runtime(job_type: str, function: HandlerFunction, runtime: str | None) -> str:
    usual = "trio" if _is_async(function) else "thread"
    if runtime is None:
        return usual
    if runtime not in RUNTIMES:
        raise ValueError(f"handler {job_type!r}: runtime={runtime!r}: must be one of {', '.join(RUNTIMES)}")
    if (runtime == "thread") != (usual == "thread"):
        kind = "a coroutine function" if usual == "trio" else "a plain function"
        raise ValueError(f"handler {job_type!r}: runtime={runtime!r}: {_name(function)} is {kind}")
    return runtime


def _payload_type(job_type: str, function: HandlerFunction, declared: Any) -> PayloadType:
    try:
        annotated = annotated_payload(function)
        kind = declared if annotated is None else annotated
        found = payload_type(kind)
    except NameError as error:
        raise ValueError(f"handler {job_type!r}: the annotation of {_name(function)}: {error}") from None
    except TypeError as error:
        raise ValueError(f"handler {job_type!r}: {_name(function)}: {error}") from None
    if declared is not None and kind != declared:
        takes = f"{_name(function)} takes {_name(kind)}"
        raise ValueError(f"handler {job_type!r}: {takes}, and the type was declared with {_name(declared)}")
    return found


def _declared_limit(job_type: str, running: int | None, rate: str | None) -> Limit | None:
    if running is None and rate is None:
        return None
    try:
        check_scope(f"type:{job_type}")
        number, per_seconds = (None, None) if rate is None else read_rate(rate)
        return make_limit(running, number, per_seconds)
    except InvalidOption as error:
        if "scope" in str(error):
            raise ValueError(f"handler {job_type!r}: a type with a limit has no NUL") from None
        what = "rate" if "rate" in str(error) or "seconds" in str(error) else "running"
        allowed = f'"100/60s", "5/m": from 1 to {RATE_MAX}' if what == "rate" else f"from 1 to {RUNNING_MAX}"
        value = rate if what == "rate" else running
        raise ValueError(f"handler {job_type!r}: {what}={value!r}: must be {allowed}") from None


def _is_async(function: object) -> bool:
    """Does a call return a coroutine? An object may have an `async def __call__`."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _fault(function: object) -> str | None:
    """Why `function` cannot be a handler."""
    if not callable(function):
        return "cannot be called"
    if inspect.isclass(function):
        return "is a class: register a function, or an object that can be called"
    called = inspect.unwrap(function)
    for kind in (called, getattr(called, "__call__", None)):  # noqa: B004
        if inspect.isgeneratorfunction(kind) or inspect.isasyncgenfunction(kind):
            return "is a generator: a handler returns its result, it yields none"
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return f"must take one argument, the job; it is {_name(function)}{inspect.signature(function)}"
    except ValueError:
        return None  # of something written in C, which does not tell
    return None


def _name(function: object) -> str:
    return str(getattr(function, "__qualname__", None) or repr(function)[:200])


#: What `@handler` fills: importing a module of handlers must be enough, so there is one per process.
registry = Registry()
handler = registry.handler
periodic = registry.periodic
