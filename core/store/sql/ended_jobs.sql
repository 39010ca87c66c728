-- Which of these jobs have ended, or are gone.
-- :ids uuid[], as text
-- Returns id.
SELECT given.id
FROM unnest(:ids::text::uuid[]) AS given (id) LEFT JOIN {schema}.jobs ON jobs.id = given.id
WHERE jobs.id IS NULL OR jobs.state IN ('completed', 'failed', 'cancelled')
