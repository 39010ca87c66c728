-- Give tasks that were claimed ahead (claim_ahead.lua) back to the heads of their lanes.
-- KEYS[1] ready list of the default queue    KEYS[2] in-flight hash    KEYS[3] bell
-- ARGV pairs: number, lane; of each lane the highest number first, to keep the order at its head
-- Returns how many were in this flight. May be repeated. O(n).
check_lanes(KEYS[1])
redis.call('LTRIM', KEYS[1], 0, -1) -- changes nothing: under out-of-memory the rest is allowed now
local count, queues = 0, {}
for i = 1, #ARGV, 2 do
  local task = redis.call('HGET', KEYS[2], ARGV[i])
  if task then
    push_to_lane(ARGV[i + 1], {task}, true, KEYS[1])
    redis.call('HDEL', KEYS[2], ARGV[i])
    queues[string.match(ARGV[i + 1], '^[%w_-]+')] = true
    count = count + 1
  end
end
for queue in pairs(queues) do
  ring(KEYS[3], queue) -- a lane that was empty meanwhile has its turn again
end
return count
