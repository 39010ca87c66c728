-- The groups of failures of a range of time, those with the most first.
-- :queue text    :span int    :since_seconds float8: so long ago is its beginning    :type text (null: any)    :limit int groups
-- Returns first_at: the beginning of the first hour in which there was one, of all that are kept; trend: JSON, [[seconds
-- since 1970, how many], ...] of the spans that had some.
WITH range AS (
    SELECT * FROM {schema}.failures
    WHERE queue = :queue AND span = :span AND at > now() - make_interval(secs => :since_seconds)
      AND (:type::text IS NULL OR type = :type)
), groups AS (
    SELECT type, error, sum(failed)::bigint AS failed, sum(retried)::bigint AS retried, max(last_at) AS last_at,
           (array_agg(last_job ORDER BY last_at DESC))[1] AS last_job,
           json_agg(json_build_array(extract(epoch FROM at)::bigint, failed + retried) ORDER BY at)::text AS trend
    FROM range
    GROUP BY type, error
    ORDER BY sum(failed + retried) DESC, type, error
    LIMIT :limit
)
SELECT *, (
    SELECT min(at) FROM {schema}.failures AS kept
    WHERE kept.queue = :queue AND kept.span = 3600 AND kept.type = groups.type AND kept.error = groups.error
) AS first_at
FROM groups
ORDER BY failed + retried DESC, type, error
