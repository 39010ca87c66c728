-- Forget deleted jobs whose tasks can no longer be in Redis.
-- :keep_seconds float8    :limit int
-- Returns pruned.
WITH old AS (
    SELECT id FROM {schema}.deleted WHERE at < now() - make_interval(secs => :keep_seconds) LIMIT :limit
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM {schema}.deleted USING old WHERE deleted.id = old.id RETURNING 1
)
SELECT count(*) AS pruned FROM gone
