-- Loss of Redis: it remembers a newer checkpoint now.
-- :queue text    :server_run_id text    :position_ms bigint so far    :new_position_ms bigint the new one
UPDATE {schema}.redis_checkpoints SET position_ms = :new_position_ms WHERE queue = :queue AND server_run_id = :server_run_id AND position_ms = :position_ms
