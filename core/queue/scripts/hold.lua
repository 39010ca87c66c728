-- Count tasks that run already, because their type is limited by now. None is refused: more than the limit may run.
-- KEYS[1] ready list of the default queue    KEYS[2] in-flight hash
-- ARGV[1] lease    ARGV[2..] of each: number, group ('' for none), type
-- Returns how many were still in this flight. May be repeated. O(n).
check_lanes(KEYS[1])
redis.call('LTRIM', KEYS[1], 0, -1) -- changes nothing: under out-of-memory the rest is allowed now
local lanes = lanes_in(KEYS[1])
local count = 0
for i = 2, #ARGV, 3 do
  if redis.call('HEXISTS', KEYS[2], ARGV[i]) == 1 then
    lanes.hold(ARGV[1], ARGV[i], ARGV[i + 1], ARGV[i + 2])
    count = count + 1
  end
end
return count
