-- Take a lease for one worker. Never sent twice with the same lease: without an answer the caller takes a new id,
-- or a late copy of this call could revive a lease that was retired long ago.
-- KEYS[1] leases    KEYS[2] workers
-- ARGV[1] lease     ARGV[2] JSON about the worker
-- Returns 1, or 0 when the lease was there already. O(log n).
redis.call('ZREMRANGEBYRANK', KEYS[1], 1, 0) -- a write that changes nothing: under out-of-memory the rest is allowed now
redis.call('HLEN', KEYS[2]) -- fails on a key of another type, before anything is done
local now = redis.call('TIME')
local added = redis.call('ZADD', KEYS[1], 'NX', now[1] * 1000 + math.floor(now[2] / 1000), ARGV[1])
if added == 1 then
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
end
return added
