-- The sweep: take the oldest marks that are old enough; whoever took one has it for as long again.
-- $1 text queue    $2 float8 seconds that a mark must be old    $3 int at most so many
-- Returns batch, ids. Touches the rows that are still pending, so that a loss of Redis just after finds them.
WITH taken AS (
    SELECT batch FROM unpushed
    WHERE queue = $1 AND at < now() - make_interval(secs => $2)
    ORDER BY batch LIMIT $3 FOR UPDATE SKIP LOCKED
), mine AS (
    UPDATE unpushed SET at = now() FROM taken WHERE unpushed.batch = taken.batch
    RETURNING unpushed.batch, unpushed.ids
), touched AS (
    UPDATE jobs SET updated_at = now()
    FROM (
        SELECT jobs.id FROM jobs JOIN (SELECT unnest(ids) AS id FROM mine) AS given ON given.id = jobs.id
        WHERE jobs.state = 'pending' ORDER BY jobs.id FOR UPDATE OF jobs SKIP LOCKED
    ) AS waiting
    WHERE jobs.id = waiting.id
)
SELECT batch, ids FROM mine
