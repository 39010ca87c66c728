"""`workqueue`: parse, call what does the work, print. An entry point: the environment is read here and passed on."""

import json
import os
import random
import shutil
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

import click
import msgspec

from workqueue.core.api_tokens import GRANTS, read_setting
from workqueue.core.errors import InvalidKey, InvalidSettings, WorkQueueError
from workqueue.core.settings import Settings, load_settings, misspelt
from workqueue.services.cli import local_installation
from workqueue.services.cli.act_commands import add_act_commands
from workqueue.services.cli.check import add_check_command
from workqueue.services.cli.dead_commands import add_dead_commands
from workqueue.services.cli.limits import add_limit_commands
from workqueue.services.cli.pauses import add_pause_commands
from workqueue.services.cli.queues import add_queue_commands
from workqueue.services.cli.schedules import add_schedule_commands
from workqueue.services.cli.worker_commands import add_worker_commands
from workqueue.services.early import end_at_signals, ignore_signals
from workqueue.services.logs import printable


class Main(click.Group):
    """Turns our errors into one line on standard error and an exit status: 2 for a wrong setting, 1 for a failure."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except InvalidSettings as error:
            for fault in error.faults:
                click.echo(f"workqueue: {printable(fault)}", err=True)
            ctx.exit(2)
        except WorkQueueError as error:
            click.echo(f"workqueue: {printable(str(error))}", err=True)
            ctx.exit(1)
        except BaseExceptionGroup as group:
            ours, rest = group.split(WorkQueueError)
            if rest is not None or ours is None:
                raise
            faults = [fault for error in _leaves(ours) for fault in str(error).splitlines()]
            for fault in dict.fromkeys(faults):
                click.echo(f"workqueue: {printable(fault)}", err=True)
            ctx.exit(2 if ours.subgroup(InvalidSettings) else 1)


def _leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    leaves: list[BaseException] = []
    for error in group.exceptions:
        leaves += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return leaves


@click.group(cls=Main, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="workqueue", message="workqueue %(version)s")
def main() -> None:
    """Background jobs that do not get lost.

    Settings come from variables of the environment. REDIS_URL and DATABASE_URL name the servers, QUEUE_NAME the queue,
    HOST, PRODUCER_PORT and WORKER_PORT where is listened, WORKER_CONCURRENCY how many jobs run at once, WORKER_HANDLERS
    your handlers. WORKQUEUE_TOKEN is the token that a producer with API_TOKENS asks for. A wrong value is named with
    what is allowed. Beside a `workqueue up` that runs in the same folder
    (or in WORKQUEUE_HOME), commands find its servers by themselves.
    """


@main.command()
@click.option("--handlers", metavar="MODULES", help="Your handlers, as WORKER_HANDLERS; reloaded when a file changes.")
def up(handlers: str | None) -> None:
    """Run everything: servers, producer, worker, dashboard.

    Redis, Postgres and a mail catcher are started here where REDIS_URL, DATABASE_URL or SMTP_URL are not set; their
    data lie in WORKQUEUE_HOME (.workqueue) and are there again at the next start. Ctrl-C ends it all.
    """
    end_at_signals()
    import trio

    from workqueue.services.cli.sources import check_modules
    from workqueue.services.cli.up import Up

    environ = dict(os.environ) | ({"WORKER_HANDLERS": handlers} if handlers else {})
    _hint_at_misspelt_variables()
    settings = load_settings(environ)
    watched = settings.handler_modules if handlers else []
    check_modules(watched, Path.cwd())
    status = trio.run(Up(settings, local_installation.home_of(environ), environ, watched).run)
    ignore_signals()
    sys.exit(status)


@main.command()
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes that serve.")
def producer(workers: int) -> None:
    """Accept jobs over HTTP and serve the dashboard.

    On HOST and PRODUCER_PORT, until SIGTERM.
    """
    end_at_signals()
    import trio

    from workqueue.services.logs import configure_logging
    from workqueue.services.producer.main import main as serve
    from workqueue.services.producer.main import run_processes
    from workqueue.services.systemd import Notifier

    settings = _settings()
    configure_logging(settings)
    if workers > 1:
        sys.exit(run_processes(settings, workers))
    trio.run(serve, settings, Notifier.from_environ(os.environ))
    ignore_signals()


@main.command()
@click.option("--handlers", metavar="MODULES", help="Your handlers, as WORKER_HANDLERS.")
@click.option("--processes", type=click.IntRange(1, 64), default=1, show_default=True, help="Workers side by side.")
@click.option("--child-of", metavar="SOCKET", hidden=True, help="Where the parent of several workers asks.")
def worker(handlers: str | None, processes: int, child_of: str | None) -> None:
    """Run jobs until SIGTERM.

    Joins a `workqueue up` that runs in this folder (or in WORKQUEUE_HOME), where no server is named. Metrics are on
    HOST and WORKER_PORT. Each of several processes runs WORKER_CONCURRENCY jobs at once; the metrics are their sum.
    """
    end_at_signals()
    import trio

    from workqueue.services.cli.sources import check_modules
    from workqueue.services.logs import configure_logging
    from workqueue.services.systemd import Notifier

    given = {"WORKER_HANDLERS": handlers} if handlers else {}
    settings = _settings(given)
    check_modules(settings.handler_modules if handlers else [], Path.cwd())
    configure_logging(settings)
    notifier = Notifier.from_environ(os.environ)
    if processes > 1:
        from workqueue.services.worker.processes import run_processes as run_workers

        environ = local_installation.joined(os.environ) | given
        trio.run(run_workers, settings, processes, environ, notifier)
    else:
        from workqueue.services.worker.main import main as work

        trio.run(partial(work, settings, notifier, parents_socket=child_of))
    ignore_signals()


@main.command()
@click.argument("name", type=click.Choice(local_installation.TAKEN_OVER), metavar="[NAME]", required=False)
def env(name: str | None) -> None:
    """Print where the servers are, with their passwords.

    With NAME, that one value.

    Of a `workqueue up` that runs in this folder (or in WORKQUEUE_HOME), or of the environment: for other programs, as
    in psql "$(workqueue env DATABASE_URL)".
    """
    from workqueue.services.cli.env import shell_lines, value_of

    environ = local_installation.joined(os.environ)
    for line in shell_lines(environ) if name is None else [value_of(name, environ)]:
        click.echo(line)


@main.command()
def migrate() -> None:
    """Bring the tables in DATABASE_URL up to date.

    Producers and workers do so when they start.
    """
    import trio

    from workqueue.services.cli.migrate import migrate_now

    for name in trio.run(migrate_now, _settings()):
        click.echo(f"migrated: {name}")
    click.echo("the tables are up to date")


@main.command()
@click.option("--dry-run", is_flag=True, help="Only say what is missing.")
def reconcile(dry_run: bool) -> None:
    """Push every pending job that is missing in Redis.

    Workers notice a loss of Redis by themselves; this is for when you know better. It pushes what an external program
    has taken as well: the two cannot be told apart.
    """
    import trio

    from workqueue.services.cli.progress import open_progress
    from workqueue.services.cli.reconcile import reconcile_now

    settings = _settings()
    with open_progress() as progress:
        done = trio.run(lambda: reconcile_now(settings, dry_run=dry_run, progress=progress))
    click.echo(f"pending rows      {done.pending:>10,}")
    click.echo(f"missing in Redis  {done.missing:>10,}")
    click.echo("nothing was pushed: --dry-run" if dry_run else f"pushed again      {done.pushed:>10,}")
    if done.processing:
        click.echo(f"{done.processing:,} jobs belong to workers that are gone: any running worker recovers them")


@main.command()
@click.option("--seed", type=int, help="The same seed strikes in the same order.  [default: a new one]")
@click.option("--seconds", type=click.FloatRange(5, 86_400), default=60.0, show_default=True, help="Of trouble.")
@click.option("--jobs", type=click.IntRange(1, 10_000_000), help="Jobs to be accepted.  [default: 100 a second]")
@click.option("--workers", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option("--producers", type=click.IntRange(1, 100), default=2, show_default=True)
@click.option("--pause", type=click.FloatRange(0.1, 3600), default=1.5, show_default=True,
              help="Seconds between two faults, on average.")  # fmt: skip
@click.option("--embedded", is_flag=True, help="On servers of its own, which are killed, stopped and emptied as well.")
@click.option("--redis-only", is_flag=True, help="Without Postgres.")
@click.option("--keep", is_flag=True, help="Keep logs, ledger and evidence also when all is well.")
def chaos(seed: int | None, seconds: float, jobs: int | None, **more: Any) -> None:
    """Show under fire that no job is lost.

    Runs workers and producers of its own on your REDIS_URL and DATABASE_URL, in a queue and a schema of their own that
    are removed at the end; kills and stops them, and cuts, delays and swallows what they say to both servers. Your
    servers themselves are left alone. Exit status 1 when a job was lost or ran twice without need.
    """
    from workqueue.services.cli.chaos import run_chaos

    settings = _settings()
    if more.pop("redis_only"):
        more["postgres"] = False
        settings = msgspec.structs.replace(settings, database_url=None)
    more["seed"] = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    more["jobs"] = round(100 * seconds) if jobs is None else jobs
    sys.exit(run_chaos(settings, os.environ, more | {"seconds": seconds}))


@main.command()
@click.option("--jobs", type=click.IntRange(1000, 10_000_000), default=50_000, show_default=True, help="To drain.")
@click.option("--latencies", type=click.IntRange(10, 100_000), default=300, show_default=True, metavar="JOBS",
              help="Submitted one by one to an idle worker.")  # fmt: skip
@click.option("--redis-only", is_flag=True, help="Without Postgres.")
def bench(jobs: int, latencies: int, redis_only: bool) -> None:
    """Measure drain and latency on your servers.

    On REDIS_URL and DATABASE_URL, in a queue and a schema of its own that are removed at the end, with one worker of
    WORKER_CONCURRENCY in this process.
    """
    import trio

    from workqueue.services.cli.bench import run_bench, summary
    from workqueue.services.cli.progress import open_progress
    from workqueue.services.cli.until_signal import until_signal

    settings = _settings()
    if redis_only:
        settings = msgspec.structs.replace(settings, database_url=None)
    with open_progress() as progress:
        figures = trio.run(until_signal, partial(run_bench, settings, jobs, latencies, progress))
    if figures is None:
        click.echo("workqueue: interrupted; what the measurement had made is removed", err=True)
        sys.exit(1)
    for line in summary(figures, settings, jobs):
        click.echo(line)


@main.command()
@click.argument("job_type", metavar="TYPE", required=False)
@click.option("--payload", default="{}", metavar="JSON", help="A JSON object; @FILE reads a file, - standard input.")
@click.option(
    "--retries",
    type=click.IntRange(0, 1_000_000),
    default=0,
    show_default=True,
    help="How often it runs again after a failure.",
)
@click.option("--queue", metavar="QUEUE", help="The queue that it waits in.  [default: default]")
@click.option("--delay", type=float, metavar="SECONDS", help="Not before so long from now.")
@click.option("--run-at", metavar="TIME", help="Not before this time: 2026-12-24T18:00:00+01:00.")
@click.option("--expires-in", type=float, metavar="SECONDS", help="Not started later than that: it fails then.")
@click.option(
    "--timeout", type=float, metavar="SECONDS", help="So long may a run last, instead of what its handler says."
)
@click.option("--unique-key", metavar="KEY", help="One job at a time under this key.")
@click.option(
    "--unique-until",
    callback=lambda context, parameter, value: _number_or_text(value),
    metavar="WHEN",
    help="When the key is free again: ended, started, or after so many seconds.  [default: ended]",
)
@click.option(
    "--on-duplicate",
    type=click.Choice(["keep", "replace"]),
    help="replace: a job that waits gets this payload and these options.  [default: keep]",
)
@click.option("--group", metavar="GROUP", help="For fairness, order and limits: a customer, a document.")
@click.option("--key", metavar="KEY", help="An idempotency key: the same command with it again makes no second job.")
@click.option("--from", "lines", type=click.File("rb"), metavar="FILE", help="Many jobs, one a line; - standard input.")
@click.option("--wait", is_flag=True, help="Wait for the end of the job, and print its result.")
@click.option("--url", metavar="URL", help="The producer.  [default: http://127.0.0.1 and PRODUCER_PORT]")
@click.pass_context
def enqueue(
    context: click.Context,
    /,
    job_type: str | None,
    payload: str,
    retries: int,
    key: str | None,
    lines: BinaryIO | None,
    wait: bool,
    url: str | None,
    **options: object,
) -> None:
    """Enqueue one job of TYPE over HTTP and print its id.

    With --wait the result is printed instead, and the exit status is how the job ended: 0 completed, 3 failed,
    4 cancelled. Ctrl-C ends the wait, and not the job.

    With --from, enqueue a job for each line of FILE and print which were refused; status 1 if any was. Such a line:

    \b
    {"type": "send_email", "retries": 3, "payload": {"to": "someone@example.com"}, "delay": 60}
    """
    import trio

    from workqueue.core.steps.submit_once import check_key
    from workqueue.services.cli.bulk import enqueue_lines
    from workqueue.services.cli.enqueue import enqueue_job
    from workqueue.services.cli.progress import open_progress

    if key is not None:
        try:
            check_key(key)
        except InvalidKey as error:
            raise click.BadParameter(f"--key: {error}") from None
    url = url or _producer_url(_settings())
    if lines is None:
        if job_type is None:
            raise click.UsageError("Missing argument 'TYPE', or --from FILE.")
        chosen = {name: value for name, value in options.items() if value is not None}
        job_id = trio.run(enqueue_job, url, job_type, _payload(payload), chosen | {"retries": retries}, key)
        if wait:
            context.exit(_wait(url, job_id))
        click.echo(printable(job_id))
        return
    given = {"TYPE": job_type, "--key": key, "--payload": payload != "{}", "--retries": retries, "--wait": wait}
    given |= {f"--{name.replace('_', '-')}": value is not None for name, value in options.items()}
    if needless := [name for name, value in given.items() if value]:
        raise click.UsageError(f"{' and '.join(needless)} cannot go with --from: each line says all of its job.")
    with open_progress() as progress:
        counts = enqueue_lines(url, lines, progress, lambda line: click.echo(printable(line), err=True))
    click.echo(f"{counts.accepted:,} accepted, {counts.refused:,} refused")
    context.exit(1 if counts.refused else 0)


def _wait(url: str, job_id: str) -> int:
    """Wait for the end of a job, print its result or error, and return the exit status."""
    import trio

    from workqueue.services.cli.progress import open_progress
    from workqueue.services.cli.wait import STATUS, NotWaited, wait_for_end

    if job_id == "queued":
        raise NotWaited("the job is enqueued, and cannot be waited for: jobs are stored only with DATABASE_URL")
    try:
        with open_progress() as progress:
            job = trio.run(wait_for_end, url, job_id, progress)
    except KeyboardInterrupt:
        click.echo(f"workqueue: job {job_id} goes on", err=True)
        return 130
    if STATUS[job.status] == 0:
        click.echo(bytes(job.result).decode())
    else:
        reason = "" if job.error_message is None else f": {printable(job.error_message)}"
        click.echo(f"workqueue: job {job_id} {job.status}{reason}", err=True)
    return STATUS[job.status]


@main.command()
@click.argument("job_id", metavar="ID", type=click.UUID)
@click.option("--follow", "-f", is_flag=True, help="Go on with new lines until the job has ended.")
@click.option("--url", metavar="URL", help="The producer.  [default: http://127.0.0.1 and PRODUCER_PORT]")
def logs(job_id: UUID, follow: bool, url: str | None) -> None:
    """Print what the handler of a job has logged (job.log).

    One line each: when, and the text. Of a job the newest 1,000 are kept.
    """
    end_at_signals()
    import trio

    from workqueue.services.cli.logs import read_logs

    at = url or _producer_url(_settings())

    async def show() -> None:
        async for line in read_logs(at, str(job_id), follow=follow):
            click.echo(printable(f"{line.at:%Y-%m-%dT%H:%M:%S}.{line.at.microsecond // 1000:03}Z  {line.text}"))

    trio.run(show)


@main.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True, type=click.UUID)
@click.option("--json", "as_json", is_flag=True, help="The answer of the producer, one JSON object a line.")
@click.option("--url", metavar="URL", help="The producer.  [default: http://127.0.0.1 and PRODUCER_PORT]")
@click.pass_context
def inspect(context: click.Context, ids: tuple[UUID, ...], as_json: bool, url: str | None) -> None:
    """Look inside of running jobs.

    Their Trio tasks with the line that each waits at, nurseries, cancel scopes with their deadlines, and the stacks of
    threads. No values of variables. The job is not disturbed; its worker stops for some milliseconds to look.
    """
    end_at_signals()
    import trio

    from workqueue.services.cli.inspect_jobs import inspect_jobs, lines_of

    at = url or _producer_url(_settings())
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None

    async def show() -> bool:
        all_shown = True
        async for inspected in inspect_jobs(at, [str(job_id) for job_id in ids]):
            if inspected.tree is None:
                all_shown = False
                click.echo(printable(f"{inspected.job_id}  {inspected.text}"), err=True)
                continue
            for line in [inspected.text] if as_json else lines_of(inspected.tree, width):
                click.echo(line)
        return all_shown

    context.exit(0 if trio.run(show) else 1)


add_act_commands(main, lambda: _producer_url(_settings()))
add_pause_commands(main, lambda: _producer_url(_settings()))
add_queue_commands(main, lambda: _producer_url(_settings()))
add_limit_commands(main, lambda: _producer_url(_settings()))
add_schedule_commands(main, lambda: _producer_url(_settings()))
add_worker_commands(main, lambda: _producer_url(_settings()))
add_check_command(main, lambda given: _settings(given))


add_dead_commands(main, lambda: _producer_url(_settings()))


@main.command()
@click.option("--watch", is_flag=True, help="Draw it again every two seconds, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document; null: not known.")
@click.option("--no-rates", is_flag=True, help="Answer at once: rates need a second look, within 6 seconds.")
@click.option("--url", metavar="URL", help="The producer.  [default: http://127.0.0.1 and PRODUCER_PORT]")
def status(watch: bool, as_json: bool, no_rates: bool, url: str | None) -> None:
    """Show the queue, workers, rates and failures.

    The producer is asked over HTTP. What cannot be known is "?". Exit status 0: all is well. 1: something is wrong:
    the producer does not answer or takes no jobs, Redis or Postgres has a fault, a worker has been silent for longer
    than LEASE_SECONDS, or no worker is alive. 2: the command is used in a wrong way.
    """
    end_at_signals()
    if watch and (as_json or no_rates):
        raise click.UsageError("--watch cannot go with --json or --no-rates.")
    if url is not None and not url.startswith(("http://", "https://")):
        raise click.BadParameter("--url: must start with http:// or https://")
    from workqueue.services.cli.show_status import run_status

    settings = _settings()
    arguments = url or _producer_url(settings), settings.lease_seconds
    context = click.get_current_context()
    context.exit(run_status(*arguments, watch=watch, as_json=as_json, rates=not no_rates))


@main.command()
@click.argument("name")
@click.argument("role", type=click.Choice([str(role) for role in GRANTS]))
def token(name: str, role: str) -> None:
    """Print a new API token.

    The first line is its secret, for the one who uses it; it is shown here and kept nowhere. The second is for the
    producer, with the hash of the secret: one entry of API_TOKENS, or one line of the file in API_TOKENS_FILE.
    """
    from workqueue.services.cli.access import VARIABLE, new_secret

    secret, written = new_secret()
    entry = f"{name}:{role}:{written}"
    if faults := read_setting(entry)[1]:
        raise click.BadParameter(f"NAME: {faults[0].removeprefix('entry 1: ')}")
    click.echo(f"{VARIABLE}={secret}")
    click.echo(f"API_TOKENS={entry}")


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes the Tab key of a shell complete commands.

    \b
    bash: eval "$(workqueue completion bash)"   in ~/.bashrc
    zsh:  eval "$(workqueue completion zsh)"    in ~/.zshrc, below compinit
    fish: workqueue completion fish >~/.config/fish/completions/workqueue.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - one of the choices, and click has all of them
    click.echo(kind(main, {}, "workqueue", "_WORKQUEUE_COMPLETE").source())


def _producer_url(settings: Settings) -> str:
    """The producer of this machine."""
    return f"http://127.0.0.1:{settings.producer_port}"


def _payload(given: str) -> dict[str, object]:
    """The object that --payload names. Raises click.BadParameter."""
    where = "--payload"
    if given == "-":
        where = "--payload (standard input)"
        try:
            given = sys.stdin.buffer.read().decode()
        except UnicodeDecodeError as error:
            raise click.BadParameter(f"{where}: {error}") from None
    elif given.startswith("@"):
        where = f"--payload ({given[1:]})"
        try:
            given = Path(given[1:]).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise click.BadParameter(f"{where}: {error}") from None
    try:
        payload = json.loads(given, parse_constant=_refuse_constant)
    except ValueError as error:
        raise click.BadParameter(f'{where}: no JSON: {error}. Write an object, such as \'{{"to": "you"}}\'') from None
    if not isinstance(payload, dict):
        raise click.BadParameter(f'{where}: a payload is a JSON object, such as \'{{"to": "you"}}\'')
    return payload


def _number_or_text(given: str | None) -> float | str | None:
    try:
        return None if given is None else float(given)
    except ValueError:
        return given


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _settings(given: Mapping[str, str] | None = None) -> Settings:
    """Of the environment, of a `workqueue up` that runs in this folder, and of what the command line has `given`."""
    _hint_at_misspelt_variables()
    return load_settings(local_installation.joined(os.environ) | dict(given or {}))


def _hint_at_misspelt_variables() -> None:
    for name, meant in misspelt(os.environ).items():
        click.echo(f"workqueue: {printable(name)} is no setting: is {meant} meant?", err=True)
