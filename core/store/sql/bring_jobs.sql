-- Jobs that were far off and are due within the hour get an outbox entry.
-- :queue text    :batch uuid of the outbox entry, fresh for each send    :horizon_seconds float8    :limit int
-- Returns how many rows it looked at; as many as :limit may mean that there are more. The entry is old enough for the
-- relay at once. Locked rows are skipped: they come next time. May be repeated.
WITH due AS (
    SELECT id FROM {schema}.jobs
    WHERE is_far AND queue = :queue AND run_at <= now() + make_interval(secs => :horizon_seconds)
    ORDER BY run_at LIMIT :limit FOR UPDATE SKIP LOCKED
), brought AS (
    UPDATE {schema}.jobs SET is_far = false, updated_at = now() FROM due WHERE jobs.id = due.id
    RETURNING jobs.id, jobs.state
), entry AS (
    INSERT INTO {schema}.outbox (batch, queue, ids, at)
    SELECT :batch, :queue, array_agg(id ORDER BY id), 'epoch' FROM brought WHERE state = 'pending' HAVING count(*) > 0
)
SELECT count(*) AS looked FROM brought
