-- Submit, step 1, for jobs that come with an idempotency key: rows, keys and outbox entry in one transaction.
-- $1 uuid batch    $2 text queue    $3 uuid[] ids    $4 text[] types    $5 text[] payloads    $6 int[] retries
-- $7 bytea[] key hashes, each once    $8 bytea[] body hashes    $9 float8 seconds for which a key is kept
-- $10 uuid[] batches that are known to be in Redis: their outbox entries ride along and go
-- Returns id of every job that holds its key now. A key that somebody holds, be it for too long, gets no row: join_jobs.
-- Waits for whoever writes or frees one of the keys just now. Keys come in their order and a held one is not locked
-- (ON CONFLICT DO UPDATE would), so neither two batches nor a refused submit can wait for each other.
WITH pushed AS (
    DELETE FROM {schema}.outbox WHERE batch = ANY ($10)
), given AS (
    SELECT id, type, payload, retries, key_hash, body_hash
    FROM unnest($3::uuid[], $4::text[], $5::text[], $6::int[], $7::bytea[], $8::bytea[])
        AS given (id, type, payload, retries, key_hash, body_hash)
), held AS (
    INSERT INTO {schema}.idempotency (queue, key_hash, body_hash, job_id, expires_at)
    SELECT $2, key_hash, body_hash, id, now() + make_interval(secs => $9) FROM given
    WHERE (SELECT set_config('lock_timeout', '2s', true)) IS NOT NULL
    ORDER BY key_hash
    ON CONFLICT (queue, key_hash) DO NOTHING
    RETURNING job_id
), entry AS (
    INSERT INTO {schema}.outbox (batch, queue, ids) SELECT $1, $2, array_agg(job_id) FROM held HAVING count(*) > 0
)
INSERT INTO {schema}.jobs (id, queue, type, payload, retries, state)
SELECT given.id, $2, given.type, given.payload, given.retries, 'pending'
FROM given JOIN held ON held.job_id = given.id
RETURNING id
