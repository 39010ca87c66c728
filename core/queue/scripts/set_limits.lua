-- Write down the limits, unless a newer version stands there, and look anew at all that waits for one.
-- KEYS[1] ready list of the default queue    KEYS[2] limits of types, with the version as `v`    KEYS[3] limits of groups
-- ARGV[1] version (>= 1)    ARGV[2..] pairs: scope, limit (_lanes.lua says how it is written)
-- Returns the version that stands there now. May be repeated. O(n + lanes).
check_lanes(KEYS[1])
redis.call('HLEN', KEYS[3])
redis.call('HDEL', KEYS[2], '') -- changes nothing: under out-of-memory the rest is allowed now; checks the type too
local version = tonumber(redis.call('HGET', KEYS[2], 'v') or '0') or 0
local function known()
  local limits = {}
  for i = 2, 3 do
    local flat = redis.call('HGETALL', KEYS[i])
    for j = 1, #flat, 2 do
      limits[flat[j]] = flat[j + 1]
    end
  end
  return limits
end
if version < tonumber(ARGV[1]) then
  local before = known()
  redis.call('DEL', KEYS[2])
  redis.call('DEL', KEYS[3])
  for i = 2, #ARGV, 2 do
    redis.call('HSET', string.sub(ARGV[i], 1, 5) == 'type:' and KEYS[2] or KEYS[3], ARGV[i], ARGV[i + 1])
  end
  lanes_in(KEYS[1]).wake_all(before, known())
  redis.call('HSET', KEYS[2], 'v', ARGV[1]) -- last: a repeat does it all again
  version = tonumber(ARGV[1])
end
return string.format('%d', version)
