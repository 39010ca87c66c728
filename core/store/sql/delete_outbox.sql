-- Drop the outbox entries of batches whose tasks are known to be in Redis.
-- $1 uuid[] batches    $2 uuid[] claim tokens of which every job has a verdict: bookkeeping that rides along
WITH done AS (
    DELETE FROM {schema}.claimed WHERE token = ANY ($2)
)
DELETE FROM {schema}.outbox WHERE batch = ANY ($1)
