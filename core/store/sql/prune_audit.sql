-- Forget what was done long ago, the oldest first.
-- :keep_seconds float8    :limit int
-- Returns pruned.
WITH old AS (
    SELECT id FROM (SELECT id, at FROM {schema}.audit ORDER BY id LIMIT :limit) AS oldest
    WHERE at < now() - make_interval(secs => :keep_seconds)
), gone AS (
    DELETE FROM {schema}.audit USING old WHERE audit.id = old.id RETURNING 1
)
SELECT count(*) AS pruned FROM gone
