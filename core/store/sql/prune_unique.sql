-- Remove unique keys that are free: nothing else does, and a key that is never used again would stay.
-- :queue text    :after text look at keys behind it    :limit int keys to look at
-- Returns looked, pruned, and last (the last key that was looked at).
-- What was taken since this statement began is not removed: the holder, and until when it holds the key, are
-- compared once the row is locked.
WITH seen AS MATERIALIZED (
    SELECT key, job_id, until_started, free_at FROM {schema}.unique_keys
    WHERE queue = :queue AND key > :after ORDER BY key LIMIT :limit
), free AS MATERIALIZED (
    SELECT key, job_id, until_started, free_at FROM seen LEFT JOIN {schema}.jobs ON jobs.id = job_id
    WHERE CASE WHEN free_at IS NOT NULL THEN free_at <= now()
               WHEN until_started THEN coalesce(state <> 'pending' OR requeued OR attempts + recoveries + interruptions > 0, true)
               ELSE coalesce(state NOT IN ('pending', 'processing'), true) END
), locked AS (
    SELECT unique_keys.key FROM {schema}.unique_keys JOIN free ON free.key = unique_keys.key
    WHERE unique_keys.queue = :queue AND unique_keys.job_id = free.job_id
      AND unique_keys.until_started = free.until_started AND unique_keys.free_at IS NOT DISTINCT FROM free.free_at
    FOR UPDATE OF unique_keys SKIP LOCKED
), pruned AS (
    DELETE FROM {schema}.unique_keys USING locked WHERE unique_keys.queue = :queue AND unique_keys.key = locked.key
    RETURNING 1
)
SELECT (SELECT count(*) FROM seen) AS looked, (SELECT count(*) FROM pruned) AS pruned, (SELECT max(key) FROM seen) AS last
