-- Take entries out of the dead letters, each by its bytes, and push the tasks that are to run again.
-- KEYS[1] dead letters    KEYS[2] ready list
-- ARGV[1] how many of entries that are the same: 1 (the oldest one) or 0 (all of them)
-- ARGV[2..] pairs: entry, task to push to the tail ('' = none)
-- Returns how many went, for each pair; so often its task was pushed. An entry that has gone meanwhile is passed over, so
-- that none is pushed twice, however often this is sent. O(n * length of the list); O(n) where they are its oldest.
-- The entry goes first: a user who may not LREM is refused before anything was done, and every user may RPUSH.
redis.call('LTRIM', KEYS[1], 0, -1) -- changes nothing: under out-of-memory the rest is allowed now
redis.call('LTRIM', KEYS[2], 0, -1) -- checks the type, too
local answer = {}
for i = 2, #ARGV, 2 do
  local count = redis.call('LREM', KEYS[1], ARGV[1], ARGV[i])
  if ARGV[i + 1] ~= '' then
    for _ = 1, count do
      redis.call('RPUSH', KEYS[2], ARGV[i + 1])
    end
  end
  answer[#answer + 1] = count
end
return answer
