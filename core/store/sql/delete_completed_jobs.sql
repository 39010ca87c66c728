-- Retention: delete jobs that completed long ago, with their artifacts, runs and idempotency keys; the oldest first.
-- :queue text    :keep_seconds float8 for which they are kept after their end
-- :after_at timestamptz, :after_id uuid only rows behind that place (null: from the beginning)    :limit int rows to look at
-- Returns one row: deleted, looked, and the place of the last row that was looked at (null: none was).
-- One worker at a time: another one looks at nothing. Locked rows are skipped, and so is a job whose idempotency key is
-- still valid: a repeat under it must find the job.
WITH looked AS (
    SELECT id, created_at, state, finished_at
    FROM {schema}.jobs
    WHERE (SELECT pg_try_advisory_xact_lock(hashtextextended('workqueue.retention.completed.' || :queue, 0)))
      AND queue = :queue
      AND created_at < now() - make_interval(secs => :keep_seconds)
      AND (:after_at::timestamptz IS NULL OR (created_at, id) > (:after_at, :after_id))
    ORDER BY created_at, id
    LIMIT :limit
), old AS (
    SELECT jobs.id FROM {schema}.jobs
    WHERE jobs.id IN (
        SELECT id FROM looked WHERE state = 'completed' AND finished_at < now() - make_interval(secs => :keep_seconds)
    )
      AND state = 'completed'
      AND NOT EXISTS (SELECT FROM {schema}.idempotency WHERE job_id = jobs.id AND expires_at > now())
    FOR UPDATE SKIP LOCKED
), keys AS (
    DELETE FROM {schema}.idempotency USING old WHERE idempotency.job_id = old.id
), logs AS (
    DELETE FROM {schema}.logs USING old WHERE logs.job_id = old.id
), progress AS (
    DELETE FROM {schema}.progress USING old WHERE progress.job_id = old.id
), deleted AS (
    DELETE FROM {schema}.jobs USING old WHERE jobs.id = old.id RETURNING 1
)
SELECT (SELECT count(*) FROM deleted) AS deleted, (SELECT count(*) FROM looked) AS looked, last.created_at, last.id
FROM (SELECT 1) AS one LEFT JOIN (SELECT created_at, id FROM looked ORDER BY created_at DESC, id DESC LIMIT 1) AS last ON true
