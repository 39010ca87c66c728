-- Delete jobs that have ended, with their runs, artifacts and idempotency keys.
-- :queue text    :ids uuid[]
-- Returns id, state and changed of each job that there is, or was; changed: it is deleted now. Waits for locked rows
-- (lock_timeout). Repeated after a lost answer: the ids that are deleted are not returned any more.
-- `deleted` remembers the ids: a task of theirs that still lies in Redis must not become a job.
WITH locked AS (
    SELECT id FROM {schema}.jobs
    WHERE id = ANY (:ids) AND queue = :queue AND state IN ('completed', 'failed', 'cancelled')
      AND (SELECT set_config('lock_timeout', '2s', true)) IS NOT NULL
    ORDER BY id FOR UPDATE
), keys AS (
    DELETE FROM {schema}.idempotency USING locked WHERE idempotency.job_id = locked.id
), remembered AS (
    INSERT INTO {schema}.deleted (id, queue) SELECT id, :queue FROM locked ON CONFLICT (id) DO NOTHING
), gone AS (
    DELETE FROM {schema}.jobs USING locked WHERE jobs.id = locked.id RETURNING jobs.id, jobs.state
)
SELECT id, state, true AS changed FROM gone
UNION ALL
SELECT id, state, false FROM {schema}.jobs WHERE id = ANY (:ids) AND queue = :queue AND id NOT IN (SELECT id FROM locked)
