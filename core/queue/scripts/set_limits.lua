-- Write down all limits, unless a newer version stands there.
-- KEYS[1] ready list, whose name is in those of the hashes that this writes: `limits`, with `v` (the version) and a field
-- for each limited type, and `group_limits`, with a field for each limited group and `groups`
-- ARGV[1] version (>= 1)    ARGV[2..] pairs: field, "running interval_us burst"
-- Returns the version that stands there now. May be repeated. O(n).
local limits, group_limits = '{' .. KEYS[1] .. '}:limits', '{' .. KEYS[1] .. '}:group_limits'
redis.call('HDEL', limits, '') -- changes nothing: under out-of-memory the rest is allowed now; checks the type too
local there = tonumber(redis.call('HGET', limits, 'v') or '0') or 0
if there >= tonumber(ARGV[1]) then
  return there
end
redis.call('DEL', limits, group_limits)
redis.call('HSET', limits, 'v', ARGV[1])
for i = 2, #ARGV, 2 do
  redis.call('HSET', string.sub(ARGV[i], 1, 5) == 'type:' and limits or group_limits, ARGV[i], ARGV[i + 1])
end
return tonumber(ARGV[1])
