-- Submit of a key that a job holds: a repeat is promised that the job will run, so no refused submit may cancel it.
-- :queue text    :key_hashes bytea[] key hashes    :body_hashes bytea[] body hash of each (a key may come with several)
-- Returns key_hash, body_hash, job_id of each key that is held, duplicate (true: the job was another's, by its unique key),
-- and
--   expired   the key is free by its age: free_keys, then insert
--   settled   the answer may go out: the job is joined, has ended, or was cancelled on request (its key is still there);
--             false: it was refused, or ended, while we waited for its row: ask anew, its key may be free
-- Waits for locked rows (lock_timeout). May be repeated.
WITH held AS (
    SELECT key_hash, body_hash, job_id, jobs.state, jobs.joined, expires_at <= now() AS expired, duplicate
    FROM {schema}.idempotency LEFT JOIN {schema}.jobs ON jobs.id = job_id
    WHERE idempotency.queue = :queue AND key_hash = ANY (:key_hashes)
), locked AS (
    SELECT id FROM {schema}.jobs
    WHERE state IN ('pending', 'processing') AND id IN (
        SELECT job_id FROM held JOIN unnest(:key_hashes::bytea[], :body_hashes::bytea[]) AS given (key_hash, body_hash)
            USING (key_hash, body_hash)
        WHERE state IN ('pending', 'processing') AND NOT joined AND NOT expired
    )
      AND (SELECT set_config('lock_timeout', '2s', true)) IS NOT NULL
    ORDER BY id FOR UPDATE
), joined AS (
    UPDATE {schema}.jobs SET joined = true FROM locked WHERE jobs.id = locked.id RETURNING jobs.id
)
SELECT key_hash, body_hash, job_id, expired, coalesce(duplicate, false) AS duplicate,
       coalesce(state NOT IN ('pending', 'processing') OR held.joined OR job_id IN (SELECT id FROM joined), true) AS answerable
FROM held
