-- What this Redis is and what it remembers: how a loss of its data is noticed.
-- KEYS[1] checkpoint (the key also leads to the right node of a cluster)
-- Returns {run id of the server, or '' where INFO is refused or unknown, checkpoint or false}. O(1).
local info = redis.pcall('INFO', 'server')
local run = type(info) == 'string' and string.match(info, 'run_id:(%x+)')
return {run or '', redis.call('GET', KEYS[1])}
