-- Claim jobs for one worker: those that are pending and due, and those that an earlier send of this very claim got.
-- $1 uuid[] ids, as text    $2 uuid token, fresh for each send    $3 text queue    $4 uuid owner (lease)    $5 text worker
-- $6 uuid[] tokens of earlier sends of this claim    $7 uuid[] claim tokens of which every job has a verdict
-- Returns what is not as usual: the ids that were not claimed, with null for counters, and those of jobs that have run
-- before, with theirs. All others were claimed and have run never: a row for each would cost as much as its update. And
-- one row without an id, whose first counter says how many were claimed: success is never inferred from silence.
-- Locked rows are skipped: their tasks come again. Concurrent claims of one row: one wins.
WITH free AS (
    SELECT id FROM {schema}.jobs
    WHERE id = ANY ($1::text::uuid[]) AND queue = $3
      AND (state = 'pending' AND (run_at IS NULL OR run_at <= now()) OR state = 'processing' AND token = ANY ($6))
    ORDER BY id FOR UPDATE SKIP LOCKED
), mine AS (
    UPDATE {schema}.jobs SET state = 'processing', token = $2, worker = $5, started_at = now(), updated_at = now()
    FROM free WHERE jobs.id = free.id
    RETURNING jobs.id, jobs.attempts, jobs.recoveries, jobs.interruptions
), done AS (
    DELETE FROM {schema}.claimed WHERE token = ANY ($7)
), note AS (
    INSERT INTO {schema}.claimed (token, queue, owner, ids)
    SELECT $2, $3, $4, array_agg(id) FROM mine HAVING count(*) > 0
)
SELECT given.id, mine.attempts, mine.recoveries, mine.interruptions
FROM unnest($1::text::uuid[]) AS given (id) LEFT JOIN mine USING (id)
WHERE mine.id IS NULL OR mine.attempts + mine.recoveries + mine.interruptions > 0
UNION ALL
SELECT NULL, count(*), NULL, NULL FROM mine
