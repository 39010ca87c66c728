-- Note the name of a queue that is used for the first time.
-- KEYS[1] names of the queues besides the default one    ARGV[1] name    ARGV[2] at most so many
-- Returns 1, or 0: there are too many. May be repeated.
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 then
  return 1
end
if redis.call('SCARD', KEYS[1]) >= tonumber(ARGV[2]) then
  return 0
end
redis.call('SADD', KEYS[1], ARGV[1])
return 1
