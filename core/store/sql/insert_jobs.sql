-- Submit, step 1: rows of new jobs and the outbox entry of their batch, in one transaction.
-- $1 uuid batch    $2 text queue    $3 uuid[] ids    $4 text[] types    $5 text[] payloads    $6 int[] retries; $3, $6 as text
-- $7 uuid[] batches that are known to be in Redis: their outbox entries ride along and go
WITH pushed AS (
    DELETE FROM {schema}.outbox WHERE batch = ANY ($7)
), entry AS (
    INSERT INTO {schema}.outbox (batch, queue, ids) VALUES ($1, $2, $3::text::uuid[])
)
INSERT INTO {schema}.jobs (id, queue, type, payload, retries, state)
SELECT given.id, $2, given.type, given.payload, given.retries, 'pending'
FROM unnest($3::text::uuid[], $4::text[], $5::text[], $6::text::int[]) AS given (id, type, payload, retries)
