-- Write down what is paused, unless a newer version stands there.
-- KEYS[1] pauses: field `v` is the version, a field `t:<type>` stands for each paused type, `q:<queue>` for each paused
-- queue
-- ARGV[1] version (>= 1)    ARGV[2..] these fields
-- Returns what stands there now, as HGETALL. May be repeated. O(n).
redis.call('HDEL', KEYS[1], '') -- changes nothing: under out-of-memory the rest is allowed now; checks the type too
if (tonumber(redis.call('HGET', KEYS[1], 'v') or '0') or 0) < tonumber(ARGV[1]) then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'v', ARGV[1])
  for i = 2, #ARGV do
    redis.call('HSET', KEYS[1], ARGV[i], '1')
  end
end
return redis.call('HGETALL', KEYS[1])
