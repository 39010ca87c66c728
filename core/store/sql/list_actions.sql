-- The newest actions.
-- :queue text    :limit int
SELECT id, action, status, type, created_after, created_before, error, in_queue, in_group, ids, matched, done, failed,
       CASE state WHEN 'asked' THEN 'running' ELSE state END AS state, after_at, after_id,
       created_at, updated_at
FROM {schema}.actions WHERE queue = :queue ORDER BY created_at DESC, id DESC LIMIT :limit
