-- Move the checkpoint on, if it is still the one that the caller saw.
-- KEYS[1] checkpoint
-- ARGV[1] the checkpoint that was seen ('' = none)    ARGV[2] the new one
-- Returns 1, or 0 when it is another one (nothing done). O(1).
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then
  return 0
end
redis.call('PERSIST', KEYS[1]) -- changes nothing: under out-of-memory the rest is allowed now
redis.call('SET', KEYS[1], ARGV[2])
return 1
