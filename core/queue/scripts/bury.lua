-- Move tasks from a flight to the dead letters, of which the newest ARGV[1] are kept.
-- KEYS[1] dead letters    KEYS[2] in-flight hash    KEYS[3..] unique keys that are free then (free_unique.lua)
-- ARGV[1] how many are kept    ARGV[2..] for each key of KEYS[3..] a pair: number, id of its job; then pairs: number, entry
-- Returns {how many old ones were dropped, then 1 or 0 (not in this flight: nothing done) for each pair, then the types
-- of the oldest of those that were dropped, as JSON without quotes, '' where there is none: 1,000 of them and 4 MiB are
-- looked at, at most, each up to its 8th KiB}. O(n).
redis.call('LTRIM', KEYS[1], 0, -1) -- changes nothing: under out-of-memory the rest is allowed now
local answer = {0}
local ready, lease = owner_of(KEYS[2])
check_lanes(ready)
for i = 3, #KEYS do
  local number, id = ARGV[2 * i - 4], ARGV[2 * i - 3]
  if redis.call('HEXISTS', KEYS[2], number) == 1 and redis.pcall('HGET', KEYS[i], 'id') == id then
    redis.call('DEL', KEYS[i])
  end
end
for i = 2 * #KEYS - 2, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[2], ARGV[i]) == 1 then
    redis.call('RPUSH', KEYS[1], ARGV[i + 1])
    redis.call('HDEL', KEYS[2], ARGV[i])
    release(ready, lease, ARGV[i])
    answer[#answer + 1] = 1
  else
    answer[#answer + 1] = 0
  end
end
local kept = tonumber(ARGV[1])
local length = redis.call('LLEN', KEYS[1])
if length > kept then
  local bytes = 0
  for index = 0, math.min(length - kept, 1000) - 1 do
    local entry = redis.call('LRANGE', KEYS[1], index, index)[1] -- one by one: each may have a MiB
    bytes = bytes + #entry
    if bytes > 4194304 and index > 0 then
      break
    end
    -- The task is JSON text in JSON text.
    answer[#answer + 1] = string.match(string.sub(entry, 1, 8192), '\\"type\\":%s*\\"(.-)\\"') or ''
  end
  redis.call('LTRIM', KEYS[1], length - kept, -1)
  answer[1] = length - kept
end
return answer
