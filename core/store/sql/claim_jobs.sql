-- Claim jobs for one worker: those that are pending and due, and those that an earlier send of this very claim got.
-- :ids uuid[], as text    :token uuid, fresh for each send    :queue text    :owner uuid (lease)    :worker text
-- :earlier uuid[] tokens of earlier sends of this claim    :finished_claims uuid[] claim tokens of which every job has a verdict
-- Returns what is not as usual: the ids that were not claimed, with null for counters, and those of jobs that have run
-- before, with theirs, or whose tasks in Redis are old (`replaced`). All others were claimed and have run never: a row for each would cost as much as its update. And
-- one row without an id, whose first counter says how many were claimed: success is never inferred from silence.
-- Locked rows are skipped: their tasks come again. Concurrent claims of one row: one wins.
WITH free AS (
    SELECT id FROM {schema}.jobs
    WHERE id = ANY (:ids::text::uuid[]) AND queue = :queue
      AND (state = 'pending' AND (run_at IS NULL OR run_at <= now()) OR state = 'processing' AND token = ANY (:earlier))
    ORDER BY id FOR UPDATE SKIP LOCKED
), mine AS (
    UPDATE {schema}.jobs SET state = 'processing', token = :token, worker = :worker, started_at = now(), updated_at = now()
    FROM free WHERE jobs.id = free.id
    RETURNING jobs.id, jobs.attempts, jobs.recoveries, jobs.interruptions, jobs.replaced
), done AS (
    DELETE FROM {schema}.claimed WHERE token = ANY (:finished_claims)
), note AS (
    INSERT INTO {schema}.claimed (token, queue, owner, ids)
    SELECT :token, :queue, :owner, array_agg(id) FROM mine HAVING count(*) > 0
)
SELECT given.id, mine.attempts, mine.recoveries, mine.interruptions, mine.replaced
FROM unnest(:ids::text::uuid[]) AS given (id) LEFT JOIN mine USING (id)
WHERE mine.id IS NULL OR mine.attempts + mine.recoveries + mine.interruptions > 0 OR mine.replaced
UNION ALL
SELECT NULL, count(*), NULL, NULL, NULL FROM mine
