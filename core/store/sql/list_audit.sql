-- A page of the audit, newest first. Keyset: goes on behind :before.
-- :queue text    :before bigint (null: first page)    :limit int
SELECT id, at, who, act, target::text AS target, count
FROM {schema}.audit WHERE queue = :queue AND (:before::bigint IS NULL OR id < :before) ORDER BY id DESC LIMIT :limit
