-- Free those of these idempotency keys that are older than they may be.
-- $1 text queue    $2 bytea[] key hashes
-- A key that somebody else has locked is skipped: it is being freed.
DELETE FROM {schema}.idempotency USING (
    SELECT queue, key_hash FROM {schema}.idempotency
    WHERE queue = $1 AND key_hash = ANY ($2) AND expires_at <= now()
    FOR UPDATE SKIP LOCKED
) AS old
WHERE idempotency.queue = old.queue AND idempotency.key_hash = old.key_hash
