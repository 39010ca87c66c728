-- Which jobs have changed lately.
-- :queue text    :since_us bigint microseconds since 1970 by this clock (null: now)
-- :max_seconds float8 how far back that may be    :overlap_seconds float8 before it, from where on rows are taken: a row is
-- seen from its commit on, but `updated_at` is the beginning of its transaction
-- :limit int how many; one more is returned where there are more
-- Returns now_us, and of each job id, type, state and updated_at; of one that a person has deleted, nulls for type and state.
-- Where there are none: one row that has the clock alone.
-- `touched` finds all of them by the BRIN index; but it has to read each page that is too new to be in that index, 0.4 ms for
-- a thousand rows (autosummarize: those of the last minute). So what is new is looked for first, and where that is more
-- than is told, nothing else is: 3 ms at 1,000 jobs a second and 1,000,000 rows; 25 ms by the BRIN index alone.
WITH fresh AS MATERIALIZED (
    SELECT id, type, state, updated_at
    FROM {schema}.jobs
    WHERE created_at >= {since} AND queue = :queue
    ORDER BY created_at DESC, id DESC
    LIMIT :limit + 1
), touched AS (
    SELECT id, type, state, updated_at
    FROM {schema}.jobs
    WHERE updated_at >= {since} AND queue = :queue AND (SELECT count(*) FROM fresh) <= :limit
    LIMIT :limit + 1
), deleted AS (
    SELECT id, NULL::text AS type, NULL::text AS state, at AS updated_at
    FROM {schema}.deleted
    WHERE at >= {since} AND queue = :queue AND NOT EXISTS (SELECT FROM {schema}.jobs WHERE jobs.id = deleted.id)
    LIMIT :limit + 1
), changed AS (
    SELECT * FROM (TABLE fresh UNION TABLE touched UNION TABLE deleted) AS found LIMIT :limit + 1
)
SELECT (extract(epoch FROM now()) * 1000000)::bigint AS now_us, changed.*
FROM (SELECT 1) AS one LEFT JOIN changed ON true
