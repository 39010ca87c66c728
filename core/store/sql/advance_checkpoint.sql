-- Loss of Redis: it remembers a newer checkpoint now.
-- $1 text queue    $2 text server_run_id    $3 bigint position_ms so far    $4 bigint the new one
UPDATE {schema}.redis_checkpoints SET position_ms = $4 WHERE queue = $1 AND server_run_id = $2 AND position_ms = $3
