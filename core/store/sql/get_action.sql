-- An action, and how far it is.
-- :id uuid    :queue text
SELECT id, action, status, type, created_after, created_before, error, ids, matched, done, failed, state, after_at, after_id,
       created_at, updated_at
FROM {schema}.actions WHERE id = :id AND queue = :queue
