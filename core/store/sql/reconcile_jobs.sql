-- Loss: Redis is another one, or has forgotten something. Mark what is pending and may be missing there.
-- $1 text queue    $2 text run and $3 bigint n that are known so far (else somebody else was quicker: nothing is done)
-- $4 text run of this Redis    $5 bigint the mark that it remembers, ms of this clock (negative: none, all may be missing)
-- At most every 10 s. Marks of 500 jobs each, old enough for the sweep at once.
-- Returns guarded (1: done, 0: somebody else, or too soon), marked.
WITH guard AS (
    INSERT INTO {schema}.marks (queue, run, at) VALUES ($1, $4, 'epoch') -- the first look ever is no loss
    ON CONFLICT (queue) DO UPDATE SET run = excluded.run, at = now()
    WHERE marks.run IS NOT DISTINCT FROM $2 AND marks.n = $3 AND marks.at < now() - interval '10 seconds'
    RETURNING 1
), lost AS (
    SELECT id, (row_number() OVER () - 1) / 500 AS piece
    FROM {schema}.jobs
    WHERE EXISTS (SELECT FROM guard) AND queue = $1 AND state = 'pending'
      AND updated_at >= to_timestamp($5::bigint / 1000.0) - interval '60 seconds'
), marked AS (
    INSERT INTO {schema}.unpushed (batch, queue, ids, at)
    SELECT gen_random_uuid(), $1, array_agg(id ORDER BY id), 'epoch' FROM lost GROUP BY piece
)
SELECT (SELECT count(*) FROM guard) AS guarded, (SELECT count(*) FROM lost) AS marked
