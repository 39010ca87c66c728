-- What keeps a run from being quiet.
-- $1 text queue
-- Returns one row: waiting (jobs without an end), unpushed (marks), claimed (claims that are noted).
SELECT
    (SELECT count(*) FROM jobs WHERE queue = $1 AND state IN ('pending', 'processing')) AS waiting,
    (SELECT count(*) FROM unpushed WHERE queue = $1) AS unpushed,
    (SELECT count(*) FROM claimed WHERE queue = $1) AS claimed
