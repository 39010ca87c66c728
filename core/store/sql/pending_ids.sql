-- A person's reconcile: what is pending and was so already when it began, in pieces by id.
-- :queue text    :after uuid only ids above it    :limit int at most so many    :before_ms bigint when it began, ms of this clock
-- No `:after IS NULL OR ...`: with it, each piece would read the index from its beginning (130 s for a million rows).
SELECT id FROM {schema}.jobs
WHERE queue = :queue AND state = 'pending' AND NOT is_far AND id > :after AND updated_at < to_timestamp(:before_ms::bigint / 1000.0)
ORDER BY id LIMIT :limit
