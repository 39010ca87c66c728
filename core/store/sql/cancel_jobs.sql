-- Cancel: a job that waits ends at once; one that runs gets `cancel_at`, and ends when its worker has cancelled it.
-- :queue text    :ids uuid[]
-- Returns id, state and changed of each job that there is. changed: it has ended now, or is asked to end; false: it had
-- ended before. Waits for locked rows (lock_timeout). May be repeated.
-- The task of a job that ends here stays in Redis: a claim finds the row ended, and drops it.
WITH locked AS (
    SELECT id, state FROM {schema}.jobs
    WHERE id = ANY (:ids) AND queue = :queue AND state IN ('pending', 'processing')
      AND (SELECT set_config('lock_timeout', '2s', true)) IS NOT NULL
    ORDER BY id FOR UPDATE
), ended AS (
    UPDATE {schema}.jobs SET state = 'cancelled', requeued = false, run_at = NULL, finished_at = now(), failed_at = now(),
        updated_at = now()
    FROM locked WHERE jobs.id = locked.id AND locked.state = 'pending'
    RETURNING jobs.id
), asked AS (
    UPDATE {schema}.jobs SET cancel_at = coalesce(jobs.cancel_at, now()), updated_at = now()
    FROM locked WHERE jobs.id = locked.id AND locked.state = 'processing'
    RETURNING jobs.id
)
SELECT id, 'cancelled' AS state, true AS changed FROM ended
UNION ALL
SELECT id, 'processing', true FROM asked
UNION ALL
SELECT id, state, false FROM {schema}.jobs WHERE id = ANY (:ids) AND queue = :queue AND id NOT IN (SELECT id FROM locked)
