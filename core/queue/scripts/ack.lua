-- Remove tasks from a flight: their jobs have a verdict.
-- KEYS[1] in-flight hash
-- ARGV pairs: first number, last number of a run without gaps
-- Returns how many were there. Sent twice, the second time answers 0. O(n), n = numbers in all runs.
-- Their permits go with them (_lanes.lua): where the lease has any, they are looked for.
-- Runs, because a batch that was claimed together ends together: packing 500 numbers one by one costs the worker more
-- than everything else that it says to Redis.
local acked = 0
local ready, lease = owner_of(KEYS[1])
check_lanes(ready)
local lanes = redis.call('EXISTS', '{' .. ready .. '}:permits:' .. lease) == 1 and lanes_in(ready)
for i = 1, #ARGV, 2 do
  local first, last = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
  while first <= last do
    local numbers = {}
    for number = first, math.min(last, first + 199) do -- unpack has a limit
      numbers[#numbers + 1] = number
    end
    acked = acked + redis.call('HDEL', KEYS[1], unpack(numbers))
    if lanes then
      lanes.release(lease, numbers)
    end
    first = first + 200
  end
end
return acked
