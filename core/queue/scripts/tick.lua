-- What this Redis is and what it remembers: how a loss of its data is noticed.
-- KEYS[1] mark (the key also leads to the right node of a cluster)
-- Returns {run id of the server, mark or false}. O(1).
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
return {run, redis.call('GET', KEYS[1])}
