-- Free those of these idempotency keys that are older than they may be.
-- :queue text    :key_hashes bytea[] key hashes
-- A key that another transaction has locked is skipped: it is being freed.
DELETE FROM {schema}.idempotency USING (
    SELECT queue, key_hash FROM {schema}.idempotency
    WHERE queue = :queue AND key_hash = ANY (:key_hashes) AND expires_at <= now()
    FOR UPDATE SKIP LOCKED
) AS old
WHERE idempotency.queue = old.queue AND idempotency.key_hash = old.key_hash
