-- End a lease clean: its worker stops by itself. No worker is blamed for what is left of it.
-- KEYS[1] leases
-- ARGV[1] lease
-- Returns 1 when it lived, else 0. May be sent twice. O(log n).
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or tonumber(score) <= 0 then
  return 0
end
redis.call('ZREMRANGEBYRANK', KEYS[1], 1, 0) -- changes nothing: under out-of-memory the rest is allowed now
redis.call('ZADD', KEYS[1], 'XX', -1, ARGV[1])
return 1
