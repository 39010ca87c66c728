-- Run now: jobs that wait for a time are due, with an outbox entry.
-- :queue text    :ids uuid[]    :batch uuid of the outbox entry, fresh for each send
-- Returns id, state and changed of each job that there is; changed: it is due now, false: it waits for no time. Waits
-- for locked rows (lock_timeout). Repeated after a lost answer, changed is false: the outbox entry of the send before
-- has the job.
-- Its task stays in the scheduled set, and comes a second time: a claim finds the row claimed, and drops it.
WITH locked AS (
    SELECT id FROM {schema}.jobs
    WHERE id = ANY (:ids) AND queue = :queue AND state = 'pending' AND run_at > now()
      AND (SELECT set_config('lock_timeout', '2s', true)) IS NOT NULL
    ORDER BY id FOR UPDATE
), due AS (
    UPDATE {schema}.jobs SET run_at = NULL, updated_at = now() FROM locked WHERE jobs.id = locked.id
    RETURNING jobs.id
), entry AS (
    INSERT INTO {schema}.outbox (batch, queue, ids)
    SELECT :batch, :queue, array_agg(id ORDER BY id) FROM due HAVING count(*) > 0
)
SELECT id, 'pending' AS state, true AS changed FROM due
UNION ALL
SELECT id, state, false FROM {schema}.jobs WHERE id = ANY (:ids) AND queue = :queue AND id NOT IN (SELECT id FROM locked)
