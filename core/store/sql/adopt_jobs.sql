-- Make rows for tasks that came without one: another program pushed them into Redis.
-- :token uuid    :queue text    :owner uuid (lease)    :worker text    :ids uuid[]    :types text[]
-- :payloads text[]    :extras text[]    {option_arrays}    :attempts int[]    :recoveries int[]
-- :interruptions int[]
-- Returns the ids whose rows were made, and are ours under :token. Other workers that were quicker keep the others: a claim
-- tells whose they are, and after no answer it tells of all of them. This statement may arrive late, when such a job has
-- ended and a person has deleted it: what `deleted` remembers gets no row.
WITH mine AS (
    INSERT INTO {schema}.jobs (id, queue, type, payload, extra, {options}, attempts, recoveries, interruptions, state, token,
                      worker, started_at)
    SELECT given.id, :queue, given.type, given.payload, given.extra, {given.options}, given.attempts, given.recoveries,
           given.interruptions, 'processing', :token, :worker, now()
    FROM unnest(:ids::uuid[], :types::text[], :payloads::text[], :extras::text[], {option_arrays}, :attempts::int[], :recoveries::int[], :interruptions::int[])
         AS given (id, type, payload, extra, {options}, attempts, recoveries, interruptions)
    WHERE (SELECT set_config('lock_timeout', '2s', true)) IS NOT NULL
      AND NOT EXISTS (SELECT FROM {schema}.deleted WHERE deleted.id = given.id)
      AND NOT EXISTS (SELECT FROM {schema}.jobs WHERE jobs.id = given.id) -- a deletion just now: its row is still seen
    ORDER BY given.id
    ON CONFLICT (id) DO NOTHING
    RETURNING id
), note AS (
    INSERT INTO {schema}.claimed (token, queue, owner, ids)
    SELECT :token, :queue, :owner, array_agg(id) FROM mine HAVING count(*) > 0
)
SELECT id FROM mine
