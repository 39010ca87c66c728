-- Move what is due from the scheduled sets to the tails of their ready lists, by Redis's own clock.
-- KEYS[1] ready list    KEYS[2] scheduled set    KEYS[3] names of the other queues    KEYS[4] bell
-- ARGV[1] at most so many    ARGV[2] at most so many bytes (a piece of 100 tasks may exceed it)
-- Lanes that wait for a time that has come have their turns (_lanes.lua).
-- Returns {how many, ms until the next lane is due or -1}; as many as ARGV[1] may mean that there is more. RPUSH first, ZREM last. O(n log n + queues).
check_lanes(KEYS[1])
redis.call('LTRIM', KEYS[1], 0, -1) -- changes nothing: under out-of-memory the rest is allowed now
local others = redis.call('SMEMBERS', KEYS[3])
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local count_max, bytes_max = tonumber(ARGV[1]), tonumber(ARGV[2])
local count, bytes = 0, 0
local function promote(queue, ready, scheduled)
  local before, rings = count, false
  while count < count_max and bytes < bytes_max do
    local due = redis.call('ZRANGEBYSCORE', scheduled, '-inf', now_ms, 'LIMIT', 0, math.min(100, count_max - count))
    if #due == 0 then
      break
    end
    local plain = {}
    for _, task in ipairs(due) do
      bytes = bytes + #task
      if group_of(task) == '' then
        plain[#plain + 1] = task
      else
        rings = put(task, queue, KEYS[1], false)
      end
    end
    if #plain > 0 then
      redis.call('RPUSH', ready, unpack(plain))
    end
    redis.call('ZREM', scheduled, unpack(due))
    count = count + #due
  end
  if rings or (queue ~= 'default' and count > before) then
    ring(KEYS[4], queue)
  end
end
promote('default', KEYS[1], KEYS[2])
for _, queue in ipairs(others) do
  promote(queue, list_of(queue, KEYS[1]), scheduled_of(queue, KEYS[1]))
end
local next_ms = -1
if redis.call('EXISTS', '{' .. KEYS[1] .. '}:lanes', '{' .. KEYS[1] .. '}:not_before') > 0 then
  local lanes = lanes_in(KEYS[1])
  next_ms = lanes.wake_due()
  lanes.forget_times()
end
return {count, next_ms}
