-- Submit, step 1, for jobs that come with an idempotency key: rows, keys and outbox entry in one transaction.
-- :batch uuid    :queue text    :ids uuid[]    :types text[]    :payloads text[]    {option_arrays}    {due_arrays}
-- :key_hashes bytea[] key hashes, each once    :body_hashes bytea[] body hashes    :ttl_seconds float8 seconds for which a key is kept
-- :pushed uuid[] batches that are known to be in Redis: their outbox entries ride along and go
-- Returns id of every job that holds its key now. A key that a job holds, be it for too long, gets no row: join_jobs.
-- Waits for transactions that write or free one of the keys just now. Keys come in their order and a held one is not locked
-- (ON CONFLICT DO UPDATE would), so neither two batches nor a refused submit can wait for each other.
WITH pushed AS (
    DELETE FROM {schema}.outbox WHERE batch = ANY (:pushed)
), given AS (
    SELECT id, type, payload, {due.options}, is_far, key_hash, body_hash
    FROM unnest(:ids::uuid[], :types::text[], :payloads::text[], {option_arrays}, {due_arrays}, :key_hashes::bytea[], :body_hashes::bytea[])
        AS given (id, type, payload, {options}, delay, is_far, key_hash, body_hash)
), held AS (
    INSERT INTO {schema}.idempotency (queue, key_hash, body_hash, job_id, expires_at)
    SELECT :queue, key_hash, body_hash, id, now() + make_interval(secs => :ttl_seconds) FROM given
    WHERE (SELECT set_config('lock_timeout', '2s', true)) IS NOT NULL
    ORDER BY key_hash
    ON CONFLICT (queue, key_hash) DO NOTHING
    RETURNING job_id
), entry AS (
    INSERT INTO {schema}.outbox (batch, queue, ids)
    SELECT :batch, :queue, array_agg(job_id) FROM held JOIN given ON given.id = held.job_id WHERE NOT given.is_far
    HAVING count(*) > 0
)
INSERT INTO {schema}.jobs (id, queue, type, payload, {options}, is_far, state)
SELECT given.id, :queue, given.type, given.payload, {given.options}, given.is_far, 'pending'
FROM given JOIN held ON held.job_id = given.id
RETURNING id
