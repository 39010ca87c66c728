-- What keeps a run from being quiet.
-- $1 text queue
-- Returns one row: waiting (jobs without an end), outbox (outbox entries), claimed (claims that are noted).
SELECT
    (SELECT count(*) FROM {schema}.jobs WHERE queue = $1 AND state IN ('pending', 'processing')) AS waiting,
    (SELECT count(*) FROM {schema}.outbox WHERE queue = $1) AS outbox,
    (SELECT count(*) FROM {schema}.claimed WHERE queue = $1) AS claimed
