-- The newest actions.
-- :queue text    :limit int
SELECT id, action, status, type, created_after, created_before, error, ids, matched, done, failed, state, after_at, after_id,
       created_at, updated_at
FROM {schema}.actions WHERE queue = :queue ORDER BY created_at DESC, id DESC LIMIT :limit
