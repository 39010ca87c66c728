-- Note the name of a queue that is used for the first time.
-- KEYS[1] names of the queues besides the default one    ARGV[1] name    ARGV[2] at most so many
-- Returns 1, or 0: there are too many. May be repeated. O(queues).
local known = redis.call('SMEMBERS', KEYS[1])
for _, name in ipairs(known) do
  if name == ARGV[1] then
    return 1
  end
end
if #known >= tonumber(ARGV[2]) then
  return 0
end
redis.call('SADD', KEYS[1], ARGV[1])
return 1
