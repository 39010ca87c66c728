-- Put tasks into the scheduled sets of their queues.
-- KEYS[1] ready list of the default queue    KEYS[2] its scheduled set    KEYS[3] names of the other queues
-- ARGV pairs: when (+ms after now, or ms since 1970; by Redis's own clock), task (with its job_id: members are unique)
-- Returns how many were new. Sent twice it only moves the due time. O(n log n).
redis.call('LLEN', KEYS[1]) -- checks its type
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local added = 0
for i = 1, #ARGV, 2 do
  local queue = queue_of(ARGV[i + 1])
  added = added + redis.call('ZADD', scheduled_of(queue, KEYS[1]), due_ms(ARGV[i], now_ms), ARGV[i + 1])
  if queue ~= 'default' then
    note(KEYS[3], queue)
  end
end
return added
