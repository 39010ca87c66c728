-- Remove a lease that does not live and holds nothing, with all that is its own, and note its worker as gone.
-- KEYS[1] leases    KEYS[2] workers    KEYS[3] its in-flight hash    KEYS[4] its set of noted starts
-- KEYS[5] list of workers that are gone, the newest first: Redis's ms, a space, JSON
-- ARGV[1] lease    ARGV[2] JSON to note; '': nothing    ARGV[3] so many are kept    ARGV[4] for so many ms
-- Returns 1, or 0 when it lives or still holds tasks (nothing done). May be sent twice: it is noted once, with its entry
-- in KEYS[2]. KEYS[5] of another type keeps no lease from being removed. O(1).
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if score and tonumber(score) > 0 then
  return 0
end
local fields = redis.call('HLEN', KEYS[3])
if fields > 1 or (fields == 1 and redis.call('HEXISTS', KEYS[3], 'at') == 0) then
  return 0
end
check_lanes((owner_of(KEYS[3])))
redis.call('HLEN', KEYS[2]) -- fails on a key of another type, before anything is done
redis.call('ZREM', KEYS[1], ARGV[1])
local known = redis.call('HDEL', KEYS[2], ARGV[1])
local ready = owner_of(KEYS[3])
lanes_in(ready).release_strays(ARGV[1]) -- none is left of tasks, but for what another release has done
redis.call('DEL', KEYS[3])
redis.call('DEL', KEYS[4])
if known == 1 and ARGV[2] ~= '' then
  local now = redis.call('TIME')
  redis.pcall('LPUSH', KEYS[5], now[1] * 1000 + math.floor(now[2] / 1000) .. ' ' .. ARGV[2])
  redis.pcall('LTRIM', KEYS[5], 0, ARGV[3] - 1)
  redis.pcall('PEXPIRE', KEYS[5], ARGV[4])
end
return 1
