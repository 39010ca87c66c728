-- Write the end of jobs that are still ours; artifacts and the runs that failed go with it, all or nothing. What a person
-- has cancelled does not fail: it ends cancelled, or completed where it was quicker.
-- :ids uuid[]    :tokens uuid[]    :states text[] (terminal)    :results text[]    :errors text[]
-- :tracebacks text[]    :outcomes text[]    :durations float8[] seconds that the run took
-- :artifact_jobs uuid[] job    :artifact_names text[] name    :artifact_types text[] content type    :artifact_contents bytea[] content of artifacts
-- :finished_claims uuid[] claim tokens of which every job has a verdict
-- Returns id of what is done now. Locked rows are skipped: get_row_status tells, and the caller repeats.
WITH given AS (
    SELECT * FROM unnest(:ids::uuid[], :tokens::uuid[], :states::text[], :results::text[], :errors::text[], :tracebacks::text[], :outcomes::text[], :durations::float8[])
        AS given (id, token, state, result, error, traceback, outcome, seconds)
), locked AS (
    SELECT jobs.id FROM {schema}.jobs JOIN given ON jobs.id = given.id
    WHERE jobs.token = given.token AND jobs.state = 'processing'
    ORDER BY jobs.id FOR UPDATE OF jobs SKIP LOCKED
), finished AS (
    UPDATE {schema}.jobs SET
        state = CASE WHEN given.state = 'failed' AND jobs.cancel_at IS NOT NULL THEN 'cancelled' ELSE given.state END,
        attempts = jobs.attempts + (given.state = 'failed')::int,
        earlier_runs = jobs.earlier_runs + (given.state = 'cancelled')::int, -- no counter has the run, and it has a number
        result = given.result,
        error_message = given.error,
        run_at = NULL,
        requeued = false,
        started_at = now() - make_interval(secs => given.seconds),
        finished_at = now(),
        failed_at = CASE WHEN given.state <> 'completed' THEN now() END,
        updated_at = now()
    FROM given JOIN locked ON locked.id = given.id
    WHERE jobs.id = given.id
    RETURNING jobs.id, jobs.state, jobs.worker, jobs.started_at,
              jobs.earlier_runs + jobs.attempts + jobs.recoveries + jobs.interruptions AS number
), failures AS (
    INSERT INTO {schema}.runs (job_id, number, worker, started_at, outcome, error, traceback)
    SELECT finished.id, finished.number, finished.worker, finished.started_at, given.outcome, given.error, given.traceback
    FROM finished JOIN given ON given.id = finished.id
    WHERE finished.state <> 'completed'
    ON CONFLICT (job_id, number) DO NOTHING
), kept AS (
    INSERT INTO {schema}.artifacts (job_id, name, content_type, bytes)
    SELECT given.job_id, given.name, given.content_type, given.bytes
    FROM unnest(:artifact_jobs::uuid[], :artifact_names::text[], :artifact_types::text[], :artifact_contents::bytea[]) AS given (job_id, name, content_type, bytes)
    JOIN finished ON finished.id = given.job_id
    ON CONFLICT (job_id, name) DO UPDATE SET content_type = excluded.content_type, bytes = excluded.bytes
), done AS (
    DELETE FROM {schema}.claimed WHERE token = ANY (:finished_claims)
)
SELECT id FROM finished
