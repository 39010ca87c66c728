-- How many jobs of each queue were done and have failed in a minute: of the last one that is over, and of this one.
-- :queue text (the installation)
-- Returns in_queue, done, failed: of each the greater of both. What the queues besides the default one do not have is its own.
WITH minutes AS (
    SELECT at, sum(done) AS done, sum(failed) AS failed FROM {schema}.stats
    WHERE queue = :queue AND span = 60 AND at > now() - interval '2 minutes'
    GROUP BY at
), others AS (
    SELECT at, in_queue, done, failed FROM {schema}.queue_stats
    WHERE queue = :queue AND at > now() - interval '2 minutes'
), every AS (
    SELECT at, in_queue, done, failed FROM others
    UNION ALL
    SELECT at, 'default', done - coalesce((SELECT sum(done) FROM others WHERE others.at = minutes.at), 0),
           failed - coalesce((SELECT sum(failed) FROM others WHERE others.at = minutes.at), 0)
    FROM minutes
)
SELECT in_queue, max(done)::bigint AS done, max(failed)::bigint AS failed FROM every GROUP BY in_queue
