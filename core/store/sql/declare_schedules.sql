-- A worker has these schedules in its code. Without any nothing is said, unless the code of others has had some.
-- :queue text    :hash bytea of the names    :names text[]    :silent_seconds float8 so long a set is not forgotten
-- Returns unknown: no worker had said so within this time, or one of them counts as gone. No row: nothing was said.
WITH forgotten AS (
    DELETE FROM {schema}.declarations WHERE queue = :queue AND hash <> :hash AND seen_at < now() - interval '1 day'
), said AS (
    INSERT INTO {schema}.declarations AS old (queue, hash, names, since, seen_at)
    SELECT :queue, :hash, :names::text[], now(), now()
    WHERE cardinality(:names::text[]) > 0
       OR EXISTS (SELECT FROM {schema}.schedules WHERE queue = :queue AND source = 'code' AND NOT gone)
    ON CONFLICT (queue, hash) DO UPDATE SET
        since = CASE WHEN old.seen_at < now() - make_interval(secs => :silent_seconds) THEN now() ELSE old.since END,
        seen_at = now()
    RETURNING since = now() AS is_new
)
SELECT is_new OR EXISTS (
    SELECT FROM {schema}.schedules WHERE queue = :queue AND source = 'code' AND gone AND name = ANY (:names::text[])
) AS unknown
FROM said
