-- Submit, step 1: rows of new jobs and the outbox entry of their batch, in one transaction.
-- :batch uuid    :queue text    :ids uuid[]    :types text[]    :payloads text[]    {option_arrays}; :ids as text
-- :pushed uuid[] batches that are known to be in Redis: their outbox entries ride along and go
WITH pushed AS (
    DELETE FROM {schema}.outbox WHERE batch = ANY (:pushed)
), entry AS (
    INSERT INTO {schema}.outbox (batch, queue, ids) VALUES (:batch, :queue, :ids::text::uuid[])
)
INSERT INTO {schema}.jobs (id, queue, type, payload, {options}, state)
SELECT given.id, :queue, given.type, given.payload, {given.options}, 'pending'
FROM unnest(:ids::text::uuid[], :types::text[], :payloads::text[], {option_arrays}) AS given (id, type, payload, {options})
