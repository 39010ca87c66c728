-- Schedules that the code of no worker has declared for so long, while some worker was there all the time, are gone.
-- :queue text    :silent_seconds float8
-- Returns name of each that is gone now.
WITH seen AS (
    SELECT names, since FROM {schema}.declarations
    WHERE queue = :queue AND seen_at > now() - make_interval(secs => :silent_seconds)
)
UPDATE {schema}.schedules SET gone = true, version = version + 1, updated_at = now()
WHERE queue = :queue AND source = 'code' AND NOT gone
  AND updated_at < now() - make_interval(secs => :silent_seconds)
  AND EXISTS (SELECT FROM seen WHERE since < now() - make_interval(secs => :silent_seconds))
  AND name NOT IN (SELECT unnest(names) FROM seen)
RETURNING name
