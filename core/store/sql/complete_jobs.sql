-- Write the end of jobs that completed and made no artifacts: what finish_jobs.sql does, for the many. A third of the
-- arrays to send, and nothing to join them with.
-- $1 uuid[] ids    $2 uuid[] tokens    $3 text[] results    $4 float8[] seconds that the run took; $1, $2, $4 as text
-- $5 uuid[] claim tokens of which every job has a verdict
-- Returns the ids of what is not done by this: a row for each that is would cost a fifth of it; and one row without an id,
-- that says how many are done: success is never inferred from silence. Locked rows are skipped: get_row_status tells, and
-- the caller repeats.
WITH given AS (
    SELECT * FROM unnest($1::text::uuid[], $2::text::uuid[], $3::text[], $4::text::float8[]) AS given (id, token, result, seconds)
), locked AS (
    SELECT jobs.id, given.result, given.seconds FROM {schema}.jobs JOIN given ON jobs.id = given.id
    WHERE jobs.token = given.token AND jobs.state = 'processing'
    ORDER BY jobs.id FOR UPDATE OF jobs SKIP LOCKED
), completed AS (
    UPDATE {schema}.jobs SET
        state = 'completed',
        result = locked.result,
        error_message = NULL,
        run_at = NULL,
        requeued = false,
        started_at = now() - make_interval(secs => locked.seconds),
        finished_at = now(),
        failed_at = NULL,
        updated_at = now()
    FROM locked WHERE jobs.id = locked.id
    RETURNING jobs.id
), done AS (
    DELETE FROM {schema}.claimed WHERE token = ANY ($5)
)
SELECT id, NULL AS count FROM given WHERE id NOT IN (SELECT id FROM completed)
UNION ALL
SELECT NULL, count(*) FROM completed
