-- A person's reconcile: what is pending and was so already when it began, in pieces by id.
-- $1 text queue    $2 uuid only ids above it    $3 int at most so many    $4 bigint when it began, ms of this clock
-- No `$2 IS NULL OR ...`: with it, each piece would read the index from its beginning (130 s for a million rows).
SELECT id FROM {schema}.jobs
WHERE queue = $1 AND state = 'pending' AND id > $2 AND updated_at < to_timestamp($4::bigint / 1000.0)
ORDER BY id LIMIT $3
