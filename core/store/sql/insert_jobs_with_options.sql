-- Submit, step 1, where jobs choose more than their retries: what insert_jobs.sql does for the many.
-- :batch uuid    :queue text    :ids uuid[]    :types text[]    :payloads text[]    {option_arrays}; :ids as text
-- {due_arrays}
-- :pushed uuid[] batches that are known to be in Redis: their outbox entries ride along and go
WITH pushed AS (
    DELETE FROM {schema}.outbox WHERE batch = ANY (:pushed)
), given AS (
    SELECT id, type, payload, {due.options}, is_far
    FROM unnest(:ids::text::uuid[], :types::text[], :payloads::text[], {option_arrays}, {due_arrays})
        AS given (id, type, payload, {options}, delay, is_far)
), entry AS (
    INSERT INTO {schema}.outbox (batch, queue, ids)
    SELECT :batch, :queue, array_agg(id ORDER BY id) FROM given WHERE NOT is_far HAVING count(*) > 0
)
INSERT INTO {schema}.jobs (id, queue, type, payload, {options}, is_far, state)
SELECT given.id, :queue, given.type, given.payload, {given.options}, given.is_far, 'pending'
FROM given
