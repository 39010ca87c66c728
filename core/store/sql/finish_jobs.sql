-- Write the end of jobs that are still ours; artifacts and the runs that failed go with it, all or nothing.
-- $1 uuid[] ids    $2 uuid[] tokens    $3 text[] states (terminal)    $4 text[] results    $5 text[] errors
-- $6 text[] tracebacks    $7 text[] outcomes    $8 float8[] seconds that the run took
-- $9 uuid[] job    $10 text[] name    $11 text[] content type    $12 bytea[] content of artifacts
-- $13 uuid[] claim tokens of which every job has a verdict
-- Returns id of what is done now. Locked rows are skipped: get_row_status tells, and the caller repeats.
WITH given AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::float8[])
        AS given (id, token, state, result, error, traceback, outcome, seconds)
), locked AS (
    SELECT jobs.id FROM {schema}.jobs JOIN given ON jobs.id = given.id
    WHERE jobs.token = given.token AND jobs.state = 'processing'
    ORDER BY jobs.id FOR UPDATE OF jobs SKIP LOCKED
), finished AS (
    UPDATE {schema}.jobs SET
        state = given.state,
        attempts = jobs.attempts + (given.state = 'failed')::int,
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
              jobs.attempts + jobs.recoveries + jobs.interruptions AS number
), failures AS (
    INSERT INTO {schema}.runs (job_id, number, worker, started_at, outcome, error, traceback)
    SELECT finished.id, finished.number, finished.worker, finished.started_at, given.outcome, given.error, given.traceback
    FROM finished JOIN given ON given.id = finished.id
    WHERE finished.state = 'failed'
    ON CONFLICT (job_id, number) DO NOTHING
), kept AS (
    INSERT INTO {schema}.artifacts (job_id, name, content_type, bytes)
    SELECT given.job_id, given.name, given.content_type, given.bytes
    FROM unnest($9::uuid[], $10::text[], $11::text[], $12::bytea[]) AS given (job_id, name, content_type, bytes)
    JOIN finished ON finished.id = given.job_id
    ON CONFLICT (job_id, name) DO UPDATE SET content_type = excluded.content_type, bytes = excluded.bytes
), done AS (
    DELETE FROM {schema}.claimed WHERE token = ANY ($13)
)
SELECT id FROM finished
