-- A page of the jobs that match what no index knows, newest first, of the newest :look behind the cursor.
-- :queue text    :before_at timestamptz, :before_id uuid cursor (null: first page)    :limit int how many; one more is
-- returned where there are more    :look int rows to look at    :bytes_max bigint of their payloads (the first row always)
-- The filter: :status :type :created_after :created_before :error :in_queue :in_group :ids :ended_badly :again :timed (_among.sql, _matching.sql)
-- :paths text[], :wanted text[]: what the payload must have (payload_has)
-- Returns the rows that match, and the last one that was looked at in any case, where there may be more behind it:
--   matches    does it?    is_last    is it that one?
-- One pass, which ends with the last row of the page: no CTE is read twice.
WITH ahead AS (
    SELECT * FROM {schema}.jobs
    WHERE {among} AND (:before_at::timestamptz IS NULL OR (created_at, id) < (:before_at, :before_id))
    ORDER BY created_at DESC, id DESC
    LIMIT :look
), looked AS (
    SELECT *, octet_length(payload)::bigint AS size, row_number() OVER newest AS place,
           sum(octet_length(payload)::bigint) OVER newest AS total
    FROM ahead WINDOW newest AS (ORDER BY created_at DESC, id DESC ROWS UNBOUNDED PRECEDING)
), judged AS (
    SELECT *, total - size < :bytes_max AND (place = :look OR total >= :bytes_max) AS is_last,
           CASE WHEN total - size < :bytes_max AND {matching} THEN {schema}.payload_has(payload, :paths::text[], :wanted::text[])
                ELSE false END AS matches
    FROM looked
)
SELECT {columns}, matches, is_last
FROM judged
WHERE matches OR is_last
ORDER BY created_at DESC, id DESC
LIMIT :limit + 1
