-- Note that a suspect is about to start, so that only suspects that ran are blamed when their worker dies.
-- KEYS[1] leases    KEYS[2] this lease's set of noted starts
-- ARGV[1] lease     ARGV[2] number of the task in the flight
-- Returns 1, or 0 when the lease is lost (nothing done: the set would have no owner). May be sent twice. O(log n).
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or tonumber(score) <= 0 then
  return 0
end
redis.call('ZREMRANGEBYRANK', KEYS[1], 1, 0) -- changes nothing: under out-of-memory the rest is allowed now
redis.call('SADD', KEYS[2], ARGV[2])
return 1
