-- Move tasks of one type from a flight to the tail of the list of its parked tasks, if the type is paused.
-- KEYS[1] in-flight hash    KEYS[2] pauses    KEYS[3] parked tasks of the type    KEYS[4] how many are parked, by type
-- ARGV[1] type    ARGV[2..] numbers, in the order of the list
-- Returns 1 for each (no longer in this flight: parked, by an earlier send perhaps) or 0 (still there: it is not
-- paused). May be repeated. RPUSH first, HDEL last. O(n).
redis.call('LTRIM', KEYS[3], 0, -1) -- changes nothing: under out-of-memory the rest is allowed now; checks the type too
redis.call('HLEN', KEYS[4]) -- fails on a key of another type, before anything is done
local ready, lease = owner_of(KEYS[1])
check_lanes(ready)
local is_paused = redis.call('HEXISTS', KEYS[2], 't:' .. ARGV[1]) == 1
local answer, length = {}, nil
for i = 2, #ARGV do
  local task = redis.call('HGET', KEYS[1], ARGV[i])
  if task and is_paused then
    length = redis.call('RPUSH', KEYS[3], task)
    redis.call('HSET', KEYS[4], ARGV[1], length)
    redis.call('HDEL', KEYS[1], ARGV[i])
    release(ready, lease, ARGV[i])
  end
  answer[i - 1] = (task and not is_paused) and 0 or 1
end
return answer
