-- Delete jobs that have ended, with their runs, artifacts and idempotency keys.
-- :queue text    the jobs stand in `chosen`: _ids.sql or _piece.sql
-- Returns id, state and changed of each job that there is, or was; changed: it is deleted now. Waits for locked rows
-- (lock_timeout). Repeated after a lost answer: the ids that are deleted are not returned any more.
-- `deleted` remembers the ids: a task of theirs that still lies in Redis must not become a job.
WITH {chosen}, locked AS ( -- all of them, so that the states in the answer are the newest
    SELECT id, state FROM {schema}.jobs
    WHERE id IN (SELECT id FROM chosen) AND queue = :queue
      AND (SELECT set_config('lock_timeout', '2s', true)) IS NOT NULL
    ORDER BY id FOR UPDATE
), ended AS (
    SELECT id FROM locked WHERE state IN ('completed', 'failed', 'cancelled')
), keys AS (
    DELETE FROM {schema}.idempotency USING ended WHERE idempotency.job_id = ended.id
), logs AS (
    DELETE FROM {schema}.logs USING ended WHERE logs.job_id = ended.id
), progress AS (
    DELETE FROM {schema}.progress USING ended WHERE progress.job_id = ended.id
), remembered AS (
    INSERT INTO {schema}.deleted (id, queue) SELECT id, :queue FROM ended
    ON CONFLICT (id) DO UPDATE SET at = greatest(deleted.at, excluded.at)
), gone AS (
    DELETE FROM {schema}.jobs USING ended WHERE jobs.id = ended.id
), acted AS (
    SELECT id, state, id IN (SELECT id FROM ended) AS changed, NULL::uuid AS token FROM locked
){done}
