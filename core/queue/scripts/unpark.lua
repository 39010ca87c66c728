-- Move parked tasks of one type to the heads of the ready lists of their queues, the last ones first, unless the type is
-- paused.
-- KEYS[1] ready list of the default queue    KEYS[2] pauses    KEYS[3] parked tasks of the type    KEYS[4] how many are parked, by type
-- KEYS[5] bell
-- ARGV[1] type    ARGV[2] at most so many    ARGV[3] at most so many bytes (a piece of 100 tasks may exceed it)
-- Returns {how many were moved, how many are left}. LPUSH first, LTRIM last. O(n).
check_lanes(KEYS[1])
redis.call('LTRIM', KEYS[1], 0, -1) -- changes nothing: under out-of-memory the rest is allowed now; checks the type too
redis.call('HLEN', KEYS[4]) -- fails on a key of another type, before anything is done
local left = redis.call('LLEN', KEYS[3])
if redis.call('HEXISTS', KEYS[2], 't:' .. ARGV[1]) == 1 then
  return {0, left}
end
local count, bytes, count_max, bytes_max = 0, 0, tonumber(ARGV[2]), tonumber(ARGV[3])
while left > 0 and count < count_max and bytes < bytes_max do
  local piece = redis.call('LRANGE', KEYS[3], -math.min(100, count_max - count), -1)
  for i = #piece, 1, -1 do
    local queue = queue_of(piece[i])
    if put(piece[i], queue, KEYS[1], true) then
      ring(KEYS[5], queue)
    end
    bytes = bytes + #piece[i]
  end
  redis.call('LTRIM', KEYS[3], 0, -#piece - 1)
  count, left = count + #piece, left - #piece
end
if left > 0 then
  redis.call('HSET', KEYS[4], ARGV[1], left)
else
  redis.call('HDEL', KEYS[4], ARGV[1])
end
return {count, left}
