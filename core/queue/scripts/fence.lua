-- Fence a lease that was not renewed, if its score is still the one that the caller saw for a whole term.
-- KEYS[1] leases
-- ARGV[1] lease    ARGV[2] score that was seen
-- Returns 1 when it is fenced now by this call, else 0. O(log n).
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or tonumber(score) <= 0 or tonumber(score) ~= tonumber(ARGV[2]) then
  return 0
end
redis.call('ZREMRANGEBYRANK', KEYS[1], 1, 0) -- changes nothing: under out-of-memory the rest is allowed now
redis.call('ZADD', KEYS[1], 'XX', 0, ARGV[1])
return 1
