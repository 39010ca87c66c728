-- Put tasks into the scheduled set, due after a delay on Redis's own clock.
-- KEYS[1] scheduled set
-- ARGV pairs: delay in ms, task (with its job_id: members are unique)
-- Returns how many were new. Sent twice it only moves the due time. O(n log n).
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local added = 0
for i = 1, #ARGV, 2 do
  added = added + redis.call('ZADD', KEYS[1], now_ms + tonumber(ARGV[i]), ARGV[i + 1])
end
return added
