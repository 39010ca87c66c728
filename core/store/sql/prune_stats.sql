-- Forget sums that are older than what is shown: minutes after 2 hours, ten minutes after 2 days, hours after 32 days.
-- :limit int of each kind
-- Returns pruned.
WITH kept (span, seconds) AS (VALUES (60, 7200), (600, 172800), (3600, 2764800)), old_stats AS (
    SELECT stats.ctid FROM {schema}.stats JOIN kept USING (span)
    WHERE at < now() - make_interval(secs => seconds)
    LIMIT :limit FOR UPDATE OF stats SKIP LOCKED
), old_failures AS (
    SELECT failures.ctid FROM {schema}.failures JOIN kept USING (span)
    WHERE at < now() - make_interval(secs => seconds)
    LIMIT :limit FOR UPDATE OF failures SKIP LOCKED
), old_writers AS (
    SELECT writer FROM {schema}.stats_writers WHERE at < now() - interval '1 day' LIMIT :limit FOR UPDATE SKIP LOCKED
), gone_queues AS (
    DELETE FROM {schema}.queue_stats WHERE ctid IN (
        SELECT ctid FROM {schema}.queue_stats WHERE at < now() - interval '10 minutes' LIMIT :limit FOR UPDATE SKIP LOCKED
    ) RETURNING 1
), gone_stats AS (
    DELETE FROM {schema}.stats WHERE ctid IN (SELECT ctid FROM old_stats) RETURNING 1
), gone_failures AS (
    DELETE FROM {schema}.failures WHERE ctid IN (SELECT ctid FROM old_failures) RETURNING 1
), gone_writers AS (
    DELETE FROM {schema}.stats_writers USING old_writers WHERE stats_writers.writer = old_writers.writer RETURNING 1
)
SELECT greatest(
    (SELECT count(*) FROM gone_stats), (SELECT count(*) FROM gone_failures), (SELECT count(*) FROM gone_writers),
    (SELECT count(*) FROM gone_queues)
) AS pruned
