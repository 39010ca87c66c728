-- Retry, give back, snooze: jobs that are still ours become pending, with an outbox entry, or cancelled if a person asked for it.
-- :batch uuid of the outbox entry, fresh for each send    :queue text    :ids uuid[]    :tokens uuid[]
-- :counters text[]: attempts | interruptions | none    :delays_ms bigint[] delays in ms    :errors text[] (a failure's goes into the row too)
-- :tracebacks text[]    :outcomes text[]    :durations float8[] seconds that the run took (null: there was none)
-- :finished_claims uuid[] claim tokens of which every job has a verdict
-- Returns id, state. Locked rows are skipped: get_row_status tells, and the caller sends again what is locked.
WITH given AS (
    SELECT * FROM unnest(:ids::uuid[], :tokens::uuid[], :counters::text[], :delays_ms::bigint[], :errors::text[], :tracebacks::text[], :outcomes::text[], :durations::float8[])
        AS given (id, token, counter, delay_ms, error, traceback, outcome, seconds)
), locked AS (
    SELECT jobs.id FROM {schema}.jobs JOIN given ON jobs.id = given.id
    WHERE jobs.token = given.token AND jobs.state = 'processing'
    ORDER BY jobs.id FOR UPDATE OF jobs SKIP LOCKED
), requeued_jobs AS (
    UPDATE {schema}.jobs SET
        state = CASE WHEN jobs.cancel_at IS NULL THEN 'pending' ELSE 'cancelled' END,
        attempts = jobs.attempts + (given.counter = 'attempts')::int,
        interruptions = jobs.interruptions + (given.counter = 'interruptions')::int,
        error_message = CASE WHEN given.counter = 'attempts' THEN given.error ELSE jobs.error_message END,
        requeued = jobs.cancel_at IS NULL,
        run_at = CASE WHEN jobs.cancel_at IS NOT NULL THEN NULL
                      WHEN given.delay_ms > 0 THEN now() + given.delay_ms * interval '1 millisecond'
                      ELSE jobs.run_at END,
        finished_at = CASE WHEN jobs.cancel_at IS NOT NULL THEN now() END,
        failed_at = CASE WHEN jobs.cancel_at IS NOT NULL THEN now() END,
        updated_at = now()
    FROM given JOIN locked ON locked.id = given.id
    WHERE jobs.id = given.id
    RETURNING jobs.id, jobs.state, jobs.worker,
              jobs.earlier_runs + jobs.attempts + jobs.recoveries + jobs.interruptions AS number
), ended AS (
    INSERT INTO {schema}.runs (job_id, number, worker, started_at, outcome, error, traceback)
    SELECT requeued_jobs.id, requeued_jobs.number, requeued_jobs.worker, now() - make_interval(secs => given.seconds), given.outcome,
           given.error, given.traceback
    FROM requeued_jobs JOIN given ON given.id = requeued_jobs.id
    WHERE given.seconds IS NOT NULL
    ON CONFLICT (job_id, number) DO NOTHING
), entry AS (
    INSERT INTO {schema}.outbox (batch, queue, ids)
    SELECT :batch, :queue, array_agg(id) FROM requeued_jobs WHERE state = 'pending' HAVING count(*) > 0
), done AS (
    DELETE FROM {schema}.claimed WHERE token = ANY (:finished_claims)
)
SELECT id, state FROM requeued_jobs
