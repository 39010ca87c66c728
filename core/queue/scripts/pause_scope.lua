-- Start no task of a scope before a time.
-- KEYS[1] ready list of the default queue
-- ARGV[1] scope (type:X or group:X)    ARGV[2] ms from now
-- Returns 1. Sent twice, the later of both times holds. O(log n).
check_lanes(KEYS[1])
redis.call('LTRIM', KEYS[1], 0, -1) -- changes nothing: under out-of-memory the rest is allowed now
lanes_in(KEYS[1]).pause(ARGV[1], tonumber(ARGV[2]))
return 1
