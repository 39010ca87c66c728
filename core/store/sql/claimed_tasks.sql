-- The tasks of jobs that were just claimed and whose tasks in Redis are old (insert_unique.sql replaced what they are to do).
-- :ids uuid[]
-- Returns everything that a task is made of.
SELECT id, type, payload, extra, {options}, attempts, recoveries, interruptions FROM {schema}.jobs WHERE id = ANY (:ids)
