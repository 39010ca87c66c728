-- What has become of jobs that a claim did not get, or an outcome was refused for.
-- :ids uuid[]
-- Returns id, state, token, queue, delay_ms until it is due (0: it is), reckoned on this clock alone.
SELECT id, state, token, queue,
       greatest(0, ceil(extract(epoch FROM run_at - now()) * 1000))::bigint AS delay_ms
FROM {schema}.jobs WHERE id = ANY (:ids)
UNION ALL -- its row is gone: a person deleted it, or it was not kept for as long as its task lies in Redis
SELECT id, 'cancelled', NULL, queue, 0 FROM {schema}.deleted
WHERE id = ANY (:ids) AND NOT EXISTS (SELECT FROM {schema}.jobs WHERE jobs.id = deleted.id)
