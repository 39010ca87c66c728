-- Look anew at the lanes whose first task waits for its time (_lanes.lua): with Postgres its row says whether it still does.
-- KEYS[1] ready list of the default queue    KEYS[2] lanes that wait so
-- Returns how many there were. May be repeated. O(n).
check_lanes(KEYS[1])
redis.call('LTRIM', KEYS[1], 0, -1) -- changes nothing: under out-of-memory the rest is allowed now
local count = redis.call('ZCARD', KEYS[2])
if count > 0 then
  lanes_in(KEYS[1]).rouse()
end
return count
