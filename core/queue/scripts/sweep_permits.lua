-- Release permits whose tasks are in no flight: a worker of another release has given them back.
-- KEYS[1] ready list of the default queue    KEYS[2] leases with permits
-- Returns of how many leases no permit is left. May be repeated. O(leases + their permits).
check_lanes(KEYS[1])
redis.call('LTRIM', KEYS[1], 0, -1) -- changes nothing: under out-of-memory the rest is allowed now
local count = 0
for _, lease in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  lanes_in(KEYS[1]).release_strays(lease)
  if redis.call('EXISTS', '{' .. KEYS[1] .. '}:permits:' .. lease) == 0 then
    redis.call('SREM', KEYS[2], lease)
    count = count + 1
  end
end
return count
