-- The oldest action that is not at its end.
-- :queue text
-- Returns the action and its filter, or nothing.
SELECT id, action, status, type, created_after, created_before, error, ids, matched, done, failed, state, after_at, after_id,
       created_at, updated_at
FROM {schema}.actions WHERE queue = :queue AND state = 'running' ORDER BY created_at, id LIMIT 1
