-- Jobs that are marked as perhaps not in Redis.
-- $1 text queue
SELECT unnest(ids) AS id FROM {schema}.outbox WHERE queue = $1
