-- Renew a lease that lives, and publish what its worker says of itself.
-- KEYS[1] leases    KEYS[2] workers    KEYS[3] what a person has asked of this worker
-- ARGV[1] lease     ARGV[2] JSON about the worker
-- Returns what was asked, or 1 where nothing was; 0 when the lease is lost (fenced, ended or absent). May be sent twice.
-- KEYS[3] of another type asks nothing. O(log n).
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or tonumber(score) <= 0 then
  return 0
end
redis.call('HLEN', KEYS[2]) -- fails on a key of another type, before anything is done
redis.call('ZREMRANGEBYRANK', KEYS[1], 1, 0) -- changes nothing: under out-of-memory the rest is allowed now
local now = redis.call('TIME')
redis.call('ZADD', KEYS[1], 'XX', now[1] * 1000 + math.floor(now[2] / 1000), ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
local asked = redis.pcall('GET', KEYS[3])
if type(asked) == 'string' then
  return asked
end
return 1
