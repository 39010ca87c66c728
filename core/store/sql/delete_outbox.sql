-- Drop the outbox entries of batches whose tasks are known to be in Redis.
-- :batches uuid[]    :finished_claims uuid[] claim tokens of which every job has a verdict: bookkeeping that rides along
WITH done AS (
    DELETE FROM {schema}.claimed WHERE token = ANY (:finished_claims)
)
DELETE FROM {schema}.outbox WHERE batch = ANY (:batches)
