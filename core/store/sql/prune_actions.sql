-- Forget actions that ended long ago.
-- :keep_seconds float8    :limit int
-- Returns pruned.
WITH old AS (
    SELECT id FROM {schema}.actions
    WHERE state NOT IN ('running', 'asked') AND created_at < now() - make_interval(secs => :keep_seconds)
    ORDER BY created_at, id LIMIT :limit FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM {schema}.actions USING old WHERE actions.id = old.id RETURNING 1
)
SELECT count(*) AS pruned FROM gone
