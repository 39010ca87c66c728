-- Retry by hand: failed and cancelled jobs wait again, with an outbox entry. Their counters begin anew, their runs stay.
-- :queue text    :ids uuid[]    :batch uuid of the outbox entry, fresh for each send
-- Returns id, state and changed of each job that there is; changed: it waits now, false: it is neither failed nor
-- cancelled. Waits for locked rows (lock_timeout). Repeated after a lost answer, changed is false: the outbox entry of
-- the send before has the job.
WITH locked AS (
    SELECT id FROM {schema}.jobs
    WHERE id = ANY (:ids) AND queue = :queue AND state IN ('failed', 'cancelled')
      AND (SELECT set_config('lock_timeout', '2s', true)) IS NOT NULL
    ORDER BY id FOR UPDATE
), retried AS (
    UPDATE {schema}.jobs SET
        state = 'pending',
        attempts = 0,
        recoveries = 0,
        interruptions = 0,
        earlier_runs = coalesce((SELECT max(number) FROM {schema}.runs WHERE job_id = jobs.id), jobs.earlier_runs),
        requeued = true,
        token = NULL,
        run_at = NULL,
        cancel_at = NULL,
        error_message = NULL,
        worker = NULL,
        started_at = NULL,
        finished_at = NULL,
        failed_at = NULL,
        updated_at = now()
    FROM locked WHERE jobs.id = locked.id
    RETURNING jobs.id
), entry AS (
    INSERT INTO {schema}.outbox (batch, queue, ids)
    SELECT :batch, :queue, array_agg(id ORDER BY id) FROM retried HAVING count(*) > 0
)
SELECT id, 'pending' AS state, true AS changed FROM retried
UNION ALL
SELECT id, state, false FROM {schema}.jobs WHERE id = ANY (:ids) AND queue = :queue AND id NOT IN (SELECT id FROM locked)
