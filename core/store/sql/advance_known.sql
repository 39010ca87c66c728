-- Loss: Redis remembers a newer mark now.
-- $1 text queue    $2 text run    $3 bigint n so far    $4 bigint new n
UPDATE {schema}.marks SET n = $4 WHERE queue = $1 AND run = $2 AND n = $3
