-- The oldest action that is not at its end.
-- :queue text
-- Returns the action and its filter, or nothing.
SELECT id, action, status, type, created_after, created_before, error, in_queue, in_group, ids, matched, done, failed,
       CASE state WHEN 'asked' THEN 'running' ELSE state END AS state, after_at, after_id,
       created_at, updated_at
FROM {schema}.actions WHERE queue = :queue AND state IN ('running', 'asked') ORDER BY created_at, id LIMIT 1
