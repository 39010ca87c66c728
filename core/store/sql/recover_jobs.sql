-- Recover: the jobs of an owner that is gone wait again, with an outbox entry, or end where their worker died too often.
-- :owner uuid (lease)    :queue text    :batch uuid of the outbox entry, fresh for each send
-- :blameless bool: it ended clean or Redis lost it, so no worker is blamed
-- :started uuid[] suspects whose start was noted (a suspect that was not may have been a neighbour only)
-- :max_recoveries int at so many deaths of its worker a job fails
-- Returns id, state. Waits for locked rows (lock_timeout), and may be repeated: what an answer that was lost had said
-- stands in the outbox entry of its send.
WITH owned AS (
    SELECT token, ids FROM {schema}.claimed WHERE owner = :owner
), locked AS (
    SELECT jobs.id, NOT :blameless::bool AND (jobs.recoveries = 0 OR jobs.id = ANY (:started)) AS blamed
    FROM (SELECT token, unnest(ids) AS id FROM owned) AS given
    JOIN {schema}.jobs ON jobs.id = given.id AND jobs.token = given.token
    WHERE jobs.state = 'processing'
      AND (SELECT set_config('lock_timeout', '2s', true)) IS NOT NULL
    ORDER BY jobs.id FOR UPDATE OF jobs
), recovered AS (
    UPDATE {schema}.jobs SET
        state = CASE WHEN jobs.cancel_at IS NOT NULL THEN 'cancelled'
                     WHEN jobs.recoveries + locked.blamed::int >= :max_recoveries THEN 'failed'
                     ELSE 'pending' END,
        recoveries = jobs.recoveries + locked.blamed::int,
        interruptions = jobs.interruptions + :blameless::bool::int,
        error_message = CASE WHEN jobs.cancel_at IS NULL AND jobs.recoveries + locked.blamed::int >= :max_recoveries
                             THEN format('its worker died %s times while it ran', jobs.recoveries + locked.blamed::int)
                             ELSE jobs.error_message END,
        requeued = jobs.cancel_at IS NULL AND jobs.recoveries + locked.blamed::int < :max_recoveries,
        run_at = CASE WHEN jobs.cancel_at IS NULL AND jobs.recoveries + locked.blamed::int < :max_recoveries THEN jobs.run_at END,
        finished_at = CASE WHEN jobs.cancel_at IS NOT NULL OR jobs.recoveries + locked.blamed::int >= :max_recoveries THEN now() END,
        failed_at = CASE WHEN jobs.cancel_at IS NOT NULL OR jobs.recoveries + locked.blamed::int >= :max_recoveries THEN now() END,
        updated_at = now()
    FROM locked WHERE jobs.id = locked.id
    RETURNING jobs.id, jobs.state, jobs.worker, jobs.started_at, locked.blamed,
              jobs.earlier_runs + jobs.attempts + jobs.recoveries + jobs.interruptions AS number
), ended AS (
    INSERT INTO {schema}.runs (job_id, number, worker, started_at, outcome, error)
    SELECT id, number, worker, started_at,
           CASE WHEN blamed THEN 'worker died' ELSE 'interrupted' END,
           CASE WHEN blamed THEN 'its worker died or lost its lease' ELSE 'interrupted: its worker stopped, or Redis lost its lease' END
    FROM recovered WHERE blamed OR :blameless
    ON CONFLICT (job_id, number) DO NOTHING
), entry AS (
    INSERT INTO {schema}.outbox (batch, queue, ids)
    SELECT :batch, :queue, array_agg(id ORDER BY id) FROM recovered WHERE state = 'pending' HAVING count(*) > 0
), done AS ( -- what a late claim adds under another token is not in `owned`, and stays for the next recovery
    DELETE FROM {schema}.claimed USING owned WHERE claimed.token = owned.token
)
SELECT id, state FROM recovered
