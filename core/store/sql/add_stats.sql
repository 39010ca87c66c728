-- Add sums of one process to the stored ones. Sent again it adds nothing.
-- :queue text    :writer uuid, :number bigint: greater than that of the writer's last batch    :age_seconds float8: since then
-- :types text[] :enqueued :done :failed :retried :cancelled bigint[] :waits :runs text[] (arrays of bigint in text form)
-- :queues text[] :queue_done :queue_failed bigint[] of queues besides the default one
-- :failure_types :errors text[] :failures :retries bigint[] :last_jobs uuid[]
WITH guard AS (
    INSERT INTO {schema}.stats_writers AS known (writer, number) VALUES (:writer, :number)
    ON CONFLICT (writer) DO UPDATE SET number = :number, at = now() WHERE known.number < :number
    RETURNING writer
), spans AS (
    SELECT span, to_timestamp(floor(extract(epoch FROM now() - make_interval(secs => :age_seconds)) / span) * span) AS at
    FROM (VALUES (60), (600), (3600)) AS each (span)
    WHERE EXISTS (SELECT FROM guard)
), sums AS (
    SELECT * FROM unnest(
        :types::text[], :enqueued::text::bigint[], :done::text::bigint[], :failed::text::bigint[],
        :retried::text::bigint[], :cancelled::text::bigint[], :waits::text[], :runs::text[]
    ) AS given (type, enqueued, done, failed, retried, cancelled, waits, runs)
), added AS (
    INSERT INTO {schema}.stats AS kept (
        queue, span, at, type, enqueued, done, failed, retried, cancelled, waits, runs
    )
    SELECT :queue, span, at, type, enqueued, done, failed, retried, cancelled, waits::bigint[], runs::bigint[]
    FROM spans, sums
    ORDER BY span, type
    ON CONFLICT (queue, span, at, type) DO UPDATE SET
        enqueued = kept.enqueued + excluded.enqueued,
        done = kept.done + excluded.done,
        failed = kept.failed + excluded.failed,
        retried = kept.retried + excluded.retried,
        cancelled = kept.cancelled + excluded.cancelled,
        waits = ARRAY(SELECT a + b FROM unnest(kept.waits, excluded.waits) AS pairs (a, b)),
        runs = ARRAY(SELECT a + b FROM unnest(kept.runs, excluded.runs) AS pairs (a, b))
    RETURNING 1
), queues AS (
    INSERT INTO {schema}.queue_stats AS kept (queue, at, in_queue, done, failed)
    SELECT :queue, at, in_queue, done, failed
    FROM spans, unnest(:queues::text[], :queue_done::text::bigint[], :queue_failed::text::bigint[])
        AS given (in_queue, done, failed)
    WHERE span = 60
    ORDER BY in_queue
    ON CONFLICT (queue, at, in_queue) DO UPDATE SET
        done = kept.done + excluded.done, failed = kept.failed + excluded.failed
)
INSERT INTO {schema}.failures AS kept (queue, span, at, type, error, failed, retried, last_at, last_job)
SELECT :queue, span, at, type, error, failed, retried, now(), last_job
FROM spans, unnest(
    :failure_types::text[], :errors::text[], :failures::text::bigint[], :retries::text::bigint[],
    :last_jobs::text::uuid[]
) AS given (type, error, failed, retried, last_job)
ORDER BY span, type, error
ON CONFLICT (queue, span, at, type, error) DO UPDATE SET
    failed = kept.failed + excluded.failed,
    retried = kept.retried + excluded.retried,
    last_at = excluded.last_at,
    last_job = excluded.last_job
