-- Loss: what Redis was last known to be and to remember, and the time on this clock in ms.
-- $1 text queue
-- Returns one row: run (null: nothing known yet), n, now_ms.
SELECT marks.run, coalesce(marks.n, 0) AS n, (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms
FROM (VALUES ($1)) AS asked (queue) LEFT JOIN {schema}.marks ON marks.queue = asked.queue
