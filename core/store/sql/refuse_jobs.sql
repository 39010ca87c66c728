-- Submit, step 3: the push failed or was not answered, so what was never claimed will never run.
-- :ids uuid[]    :batch uuid    :error text message
-- Returns id of every row that is cancelled after it and never ran: what ran, and was cancelled by a person then, had been
-- enqueued. Waits for locked rows (lock_timeout). May be repeated.
-- A row that a repeat joined under its idempotency key was promised to run: it and its outbox entry stay.
WITH keys AS ( -- before the rows, as insert_unique.sql does
    SELECT unique_keys.queue, unique_keys.key, unique_keys.job_id FROM {schema}.jobs JOIN {schema}.unique_keys
    ON unique_keys.queue = jobs.queue AND unique_keys.key = jobs.unique_key AND unique_keys.job_id = jobs.id
    WHERE jobs.id = ANY (:ids) AND jobs.unique_key IS NOT NULL
      AND (SELECT set_config('lock_timeout', '2s', true)) IS NOT NULL
    ORDER BY unique_keys.key FOR UPDATE OF unique_keys
), locked AS ( -- all that is pending: who joins a row just now is waited for, and seen
    SELECT id, joined, NOT requeued AND attempts = 0 AND recoveries = 0 AND interruptions = 0 AS never_claimed FROM {schema}.jobs
    WHERE id = ANY (:ids) AND state = 'pending'
      AND (SELECT set_config('lock_timeout', '2s', true)) IS NOT NULL
      AND (SELECT count(*) FROM keys) >= 0 -- not before
    ORDER BY id FOR UPDATE
), refused AS (
    UPDATE {schema}.jobs SET state = 'cancelled', error_message = :error, finished_at = now(), failed_at = now(),
        updated_at = now()
    FROM locked WHERE jobs.id = locked.id AND locked.never_claimed AND NOT locked.joined
    RETURNING jobs.id
), freed AS (
    DELETE FROM {schema}.idempotency USING refused WHERE idempotency.job_id = refused.id
), freed_unique AS ( -- a key that is held for so many seconds would be held by a job that never was
    DELETE FROM {schema}.unique_keys USING refused JOIN keys ON keys.job_id = refused.id
    WHERE unique_keys.queue = keys.queue AND unique_keys.key = keys.key
), kept AS (
    SELECT array_agg(id ORDER BY id) AS ids FROM locked WHERE joined
), deleted AS (
    DELETE FROM {schema}.outbox USING kept WHERE outbox.batch = :batch AND kept.ids IS NULL
), reduced AS (
    UPDATE {schema}.outbox SET ids = kept.ids FROM kept WHERE outbox.batch = :batch AND kept.ids IS NOT NULL
)
SELECT id FROM refused
UNION
SELECT id FROM {schema}.jobs
WHERE id = ANY (:ids) AND state = 'cancelled' AND earlier_runs + attempts + recoveries + interruptions = 0
