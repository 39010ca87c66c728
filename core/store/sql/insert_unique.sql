-- Submit, step 1, for jobs that come with a unique key: rows, keys and outbox entries in one transaction, and what becomes
-- of the jobs that hold one of the keys.
-- :batch uuid    :queue text    :ids uuid[]    :types text[]    :payloads text[]    {option_arrays}    {due_arrays}
-- :seconds float8[] after which the key is free (null: by what becomes of the job); no key may come twice
-- :key_hashes bytea[], :body_hashes bytea[] of an idempotency key (null: none)    :ttl_seconds float8 for which it is kept
-- :sooner uuid of a second outbox entry    :pushed uuid[] batches that are known to be in Redis: their entries ride along
-- Returns for each key that is settled: key, job_id, new (its job was inserted; else it is a duplicate of that job), sooner
-- (that job is due sooner than before, and stands in the second entry). Missing: the key changed hands meanwhile, ask anew.
--
-- Whether a key is free is judged from the row of its holder, as this statement sees it. It is taken by compare-and-set:
-- only from that holder, and only if it has not chosen to hold it for longer meanwhile (a replacement does). Of two statements that take one key, the second waits for the first, and gets nothing.
-- A duplicate joins the job that it is told of, so that no refused submit cancels that job; a row that was claimed,
-- cancelled or refused meanwhile is not joined, and nothing is said of its key.
-- Waits (lock_timeout) for transactions that take one of the keys just now, and for those that lock a holder's row. No
-- deadlock: new keys come first, then those that are taken over or whose holders are replaced, then rows of holders, each
-- in their order; refuse_jobs.sql keeps to it.
WITH pushed AS (
    DELETE FROM {schema}.outbox WHERE batch = ANY (:pushed)
), given AS MATERIALIZED (
    SELECT id, type, payload, {due.options}, is_far, seconds, key_hash, body_hash
    FROM unnest(:ids::uuid[], :types::text[], :payloads::text[], {option_arrays}, {due_arrays}, :seconds::float8[], :key_hashes::bytea[], :body_hashes::bytea[])
        AS given (id, type, payload, {options}, delay, is_far, seconds, key_hash, body_hash)
), held AS MATERIALIZED (
    SELECT unique_keys.key, unique_keys.job_id, jobs.type, jobs.in_queue, jobs.in_group, jobs.joined,
           free_at, until_started, coalesce(never_claimed, false) AS waits,
           CASE WHEN free_at IS NOT NULL THEN free_at <= now()
                WHEN until_started THEN never_claimed IS NOT TRUE
                ELSE coalesce(state NOT IN ('pending', 'processing'), true) END AS is_free
    FROM {schema}.unique_keys LEFT JOIN (
        SELECT id, type, in_queue, in_group, joined, state,
               state = 'pending' AND NOT requeued AND attempts = 0 AND recoveries = 0 AND interruptions = 0 AS never_claimed
        FROM {schema}.jobs
    ) AS jobs ON jobs.id = unique_keys.job_id
    WHERE unique_keys.queue = :queue AND unique_keys.key IN (SELECT unique_key FROM given)
), added AS (
    INSERT INTO {schema}.unique_keys (queue, key, job_id, until_started, free_at)
    SELECT :queue, unique_key, id, coalesce(unique_until = 'started', false), now() + make_interval(secs => seconds)
    FROM given
    WHERE (SELECT set_config('lock_timeout', '2s', true)) IS NOT NULL AND unique_key NOT IN (SELECT key FROM held)
    ORDER BY unique_key
    ON CONFLICT (queue, key) DO NOTHING
    RETURNING job_id
), unchanged AS MATERIALIZED ( -- keys that are taken over, and those of jobs that get what came last
    SELECT held.key, held.is_free
    FROM {schema}.unique_keys JOIN held ON held.key = unique_keys.key JOIN given ON given.unique_key = held.key
    WHERE unique_keys.queue = :queue AND unique_keys.job_id = held.job_id
      AND (held.is_free OR held.waits AND given.on_duplicate = 'replace' AND held.type = given.type AND held.in_queue = given.in_queue AND held.in_group IS NOT DISTINCT FROM given.in_group)
      AND unique_keys.until_started = held.until_started AND unique_keys.free_at IS NOT DISTINCT FROM held.free_at
      AND (SELECT count(*) FROM added) >= 0 -- not before
    ORDER BY unique_keys.key FOR UPDATE OF unique_keys
), taken AS (
    UPDATE {schema}.unique_keys SET
        job_id = given.id,
        until_started = coalesce(given.unique_until = 'started', false),
        free_at = now() + make_interval(secs => given.seconds)
    FROM unchanged JOIN given ON given.unique_key = unchanged.key
    WHERE unchanged.is_free AND unique_keys.queue = :queue AND unique_keys.key = unchanged.key
    RETURNING unique_keys.job_id
), mine AS MATERIALIZED (
    SELECT given.* FROM given WHERE id IN (SELECT job_id FROM added UNION ALL SELECT job_id FROM taken)
), touched AS MATERIALIZED ( -- holders that are not joined yet, or that get what came last
    SELECT held.job_id, given.id, coalesce(given.on_duplicate = 'replace' AND held.type = given.type AND held.in_queue = given.in_queue AND held.in_group IS NOT DISTINCT FROM given.in_group, false) AS replaces
    FROM held JOIN given ON given.unique_key = held.key
    WHERE NOT held.is_free AND held.waits
      AND (NOT held.joined OR given.on_duplicate = 'replace' AND held.type = given.type AND held.in_queue = given.in_queue AND held.in_group IS NOT DISTINCT FROM given.in_group)
), locked AS (
    SELECT id, run_at, is_far FROM {schema}.jobs
    WHERE id IN (SELECT job_id FROM touched) AND state = 'pending'
      AND NOT requeued AND attempts = 0 AND recoveries = 0 AND interruptions = 0
      AND (SELECT count(*) FROM taken) >= 0 -- not before
    ORDER BY id FOR UPDATE
), joined AS (
    UPDATE {schema}.jobs SET joined = true
    FROM locked JOIN touched ON touched.job_id = locked.id
    WHERE jobs.id = locked.id AND NOT touched.replaces
    RETURNING jobs.id
), replaced AS (
    UPDATE {schema}.jobs SET
        joined = true,
        replaced = true,
        payload = given.payload,
        retries = given.retries,
        timeout = given.timeout,
        run_at = given.run_at,
        start_by = given.start_by,
        unique_until = given.unique_until,
        on_duplicate = given.on_duplicate,
        is_far = given.is_far,
        updated_at = now()
    FROM locked JOIN touched ON touched.job_id = locked.id JOIN given ON given.id = touched.id
    JOIN unchanged ON unchanged.key = given.unique_key
    WHERE jobs.id = locked.id AND touched.replaces
    RETURNING jobs.id, given.unique_key AS key, given.unique_until, given.seconds,
              locked.run_at AS was_at, NOT given.is_far AND (locked.is_far OR coalesce(given.run_at, now()) < locked.run_at) AS sooner
), kept AS ( -- its old task stays in the scheduled set, and may come when its row is no longer kept
    INSERT INTO {schema}.deleted (id, queue, at) SELECT id, :queue, was_at FROM replaced WHERE sooner
    ON CONFLICT (id) DO UPDATE SET at = greatest(deleted.at, excluded.at)
), moved AS (
    UPDATE {schema}.unique_keys SET
        until_started = coalesce(replaced.unique_until = 'started', false),
        free_at = now() + make_interval(secs => replaced.seconds)
    FROM replaced
    WHERE unique_keys.queue = :queue AND unique_keys.key = replaced.key AND unique_keys.job_id = replaced.id
      AND (replaced.seconds IS NOT NULL OR unique_keys.free_at IS NOT NULL
           OR unique_keys.until_started <> coalesce(replaced.unique_until = 'started', false))
), answered AS MATERIALIZED (
    SELECT id, unique_key AS key, id AS job_id, true AS new, false AS sooner FROM mine
    UNION ALL
    SELECT given.id, held.key, held.job_id, false, coalesce(replaced.sooner, false)
    FROM held JOIN given ON given.unique_key = held.key
    LEFT JOIN touched ON touched.id = given.id
    LEFT JOIN joined ON joined.id = held.job_id
    LEFT JOIN replaced ON replaced.id = held.job_id
    WHERE NOT held.is_free AND (touched.id IS NULL OR joined.id IS NOT NULL OR replaced.id IS NOT NULL)
), remembered AS (
    INSERT INTO {schema}.idempotency (queue, key_hash, body_hash, job_id, expires_at, duplicate)
    SELECT :queue, key_hash, body_hash, job_id, now() + make_interval(secs => :ttl_seconds), NOT new
    FROM answered JOIN given USING (id) WHERE key_hash IS NOT NULL
    ORDER BY key_hash
    ON CONFLICT (queue, key_hash) DO NOTHING
), entry AS (
    INSERT INTO {schema}.outbox (batch, queue, ids)
    SELECT :batch, :queue, array_agg(id ORDER BY id) FROM mine WHERE NOT is_far HAVING count(*) > 0
), sooner_entry AS (
    INSERT INTO {schema}.outbox (batch, queue, ids)
    SELECT :sooner, :queue, array_agg(id ORDER BY id) FROM replaced WHERE sooner HAVING count(*) > 0
), inserted AS (
    INSERT INTO {schema}.jobs (id, queue, type, payload, {options}, is_far, state)
    SELECT mine.id, :queue, mine.type, mine.payload, {mine.options}, mine.is_far, 'pending' FROM mine
)
SELECT key, job_id, new, sooner FROM answered
