-- Make rows for tasks that came without one: somebody pushed them into Redis without us.
-- $1 uuid token    $2 text queue    $3 uuid owner (lease)    $4 text worker    $5 uuid[] ids    $6 text[] types
-- $7 text[] payloads    $8 text[] extras    $9 int[] retries    $10 int[] attempts    $11 int[] recoveries
-- $12 int[] interruptions
-- Returns the ids whose rows were made, and are ours under $1. Whoever was quicker keeps the others: a claim tells whose
-- they are, and after no answer it tells of all of them.
WITH mine AS (
    INSERT INTO {schema}.jobs (id, queue, type, payload, extra, retries, attempts, recoveries, interruptions, state, token,
                      worker, started_at)
    SELECT given.id, $2, given.type, given.payload, given.extra, given.retries, given.attempts, given.recoveries,
           given.interruptions, 'processing', $1, $4, now()
    FROM unnest($5::uuid[], $6::text[], $7::text[], $8::text[], $9::int[], $10::int[], $11::int[], $12::int[])
         AS given (id, type, payload, extra, retries, attempts, recoveries, interruptions)
    WHERE (SELECT set_config('lock_timeout', '2s', true)) IS NOT NULL
    ORDER BY given.id
    ON CONFLICT (id) DO NOTHING
    RETURNING id
), note AS (
    INSERT INTO {schema}.claimed (token, queue, owner, ids)
    SELECT $1, $2, $3, array_agg(id) FROM mine HAVING count(*) > 0
)
SELECT id FROM mine
