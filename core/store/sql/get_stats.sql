-- The sums of a range of time, by span and type.
-- :queue text    :span int    :since_seconds float8: so long ago is its beginning    :type text (null: any)    :limit int rows
SELECT at, type, enqueued, done, failed, retried, cancelled, waits::text AS waits, runs::text AS runs
FROM {schema}.stats
WHERE queue = :queue AND span = :span AND at > now() - make_interval(secs => :since_seconds)
  AND (:type::text IS NULL OR type = :type)
ORDER BY at DESC, type
LIMIT :limit
