-- Move what is due from the scheduled sets to the tails of their ready lists, by Redis's own clock.
-- KEYS[1] ready list    KEYS[2] scheduled set    KEYS[3] names of the other queues    KEYS[4] bell
-- ARGV[1] at most so many    ARGV[2] at most so many bytes (a piece of 100 tasks may exceed it)
-- Returns how many; as many as ARGV[1] may mean that there is more. RPUSH first, ZREM last. O(n log n + queues).
redis.call('LTRIM', KEYS[1], 0, -1) -- changes nothing: under out-of-memory the rest is allowed now
local others = redis.call('SMEMBERS', KEYS[3])
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local count_max, bytes_max = tonumber(ARGV[1]), tonumber(ARGV[2])
local count, bytes = 0, 0
local function promote(ready, scheduled)
  local before = count
  while count < count_max and bytes < bytes_max do
    local due = redis.call('ZRANGEBYSCORE', scheduled, '-inf', now_ms, 'LIMIT', 0, math.min(100, count_max - count))
    if #due == 0 then
      break
    end
    redis.call('RPUSH', ready, unpack(due))
    redis.call('ZREM', scheduled, unpack(due))
    count = count + #due
    for _, task in ipairs(due) do
      bytes = bytes + #task
    end
  end
  return count > before
end
promote(KEYS[1], KEYS[2])
for _, queue in ipairs(others) do
  if promote(list_of(queue, KEYS[1]), scheduled_of(queue, KEYS[1])) then
    ring(KEYS[4], queue)
  end
end
return count
