-- Release the permits of leases that are no more: a worker of another release may have recovered them.
-- KEYS[1] ready list of the default queue    KEYS[2] leases    KEYS[3] leases with permits
-- Returns how many leases there were. May be repeated. O(leases + their permits).
check_lanes(KEYS[1])
redis.call('LTRIM', KEYS[1], 0, -1) -- changes nothing: under out-of-memory the rest is allowed now
local count = 0
for _, lease in ipairs(redis.call('SMEMBERS', KEYS[3])) do
  if not redis.call('ZSCORE', KEYS[2], lease) and redis.call('EXISTS', '{' .. KEYS[1] .. '}:flight:' .. lease) == 0 then
    lanes_in(KEYS[1]).release_all(lease)
    redis.call('SREM', KEYS[3], lease)
    count = count + 1
  end
end
return count
