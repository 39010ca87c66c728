-- The relay: take the oldest outbox entries that are old enough; the worker that took one has it for as long again.
-- :queue text    :age_seconds float8 seconds that an outbox entry must be old    :limit int at most so many
-- Returns batch, ids, whole. Touches the rows that are still pending, so that a loss of Redis just after finds them.
-- whole: none of them was locked, so that each was touched. Else the outbox entry must stay: a row that is untouched,
-- pushed now and lost a moment later would not be found.
WITH taken AS (
    SELECT batch FROM {schema}.outbox
    WHERE queue = :queue AND at < now() - make_interval(secs => :age_seconds)
    ORDER BY batch LIMIT :limit FOR UPDATE SKIP LOCKED
), mine AS (
    UPDATE {schema}.outbox SET at = now() FROM taken WHERE outbox.batch = taken.batch
    RETURNING outbox.batch, outbox.ids
), waiting AS (
    SELECT mine.batch, jobs.id FROM (SELECT batch, unnest(ids) AS id FROM mine) AS mine JOIN {schema}.jobs ON jobs.id = mine.id
    WHERE jobs.state = 'pending'
), free AS (
    SELECT jobs.id FROM {schema}.jobs WHERE jobs.id IN (SELECT id FROM waiting) AND jobs.state = 'pending'
    ORDER BY jobs.id FOR UPDATE SKIP LOCKED
), touched AS (
    UPDATE {schema}.jobs SET updated_at = now() FROM free WHERE jobs.id = free.id
)
SELECT batch, ids, NOT EXISTS (SELECT FROM waiting WHERE waiting.batch = mine.batch AND id NOT IN (SELECT id FROM free)) AS whole
FROM mine
