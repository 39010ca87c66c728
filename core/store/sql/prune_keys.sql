-- Remove idempotency keys that have expired, of every queue, the oldest first.
-- :limit int at most so many
-- Returns how many. Several at once share them (SKIP LOCKED).
WITH old AS (
    SELECT queue, key_hash FROM {schema}.idempotency WHERE expires_at <= now()
    ORDER BY expires_at LIMIT :limit FOR UPDATE SKIP LOCKED
), pruned AS (
    DELETE FROM {schema}.idempotency USING old WHERE idempotency.queue = old.queue AND idempotency.key_hash = old.key_hash
    RETURNING 1
)
SELECT count(*) AS pruned FROM pruned
