-- Remove a lease that does not live and holds nothing, with all that is its own.
-- KEYS[1] leases    KEYS[2] workers    KEYS[3] its in-flight hash    KEYS[4] its set of noted starts
-- ARGV[1] lease
-- Returns 1, or 0 when it lives or still holds tasks (nothing done). May be sent twice. O(1).
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if score and tonumber(score) > 0 then
  return 0
end
local fields = redis.call('HLEN', KEYS[3])
if fields > 1 or (fields == 1 and redis.call('HEXISTS', KEYS[3], 'at') == 0) then
  return 0
end
redis.call('HLEN', KEYS[2]) -- fails on a key of another type, before anything is done
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[3])
redis.call('DEL', KEYS[4])
return 1
