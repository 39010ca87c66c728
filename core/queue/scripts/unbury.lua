-- Take entries out of the dead letters, each by its bytes, and push the tasks that are to run again.
-- KEYS[1] dead letters    KEYS[2] ready list of the default queue    KEYS[3] names of the other queues    KEYS[4] bell
-- ARGV[1] how many of entries that are the same: 1 (the oldest one) or 0 (all of them)
-- ARGV[2..] pairs: entry, task to push to the tail of its queue ('' = none)
-- Returns how many went, for each pair; so often its task was pushed. An entry that has gone meanwhile is passed over, so
-- that none is pushed twice, however often this is sent. O(n * length of the list); O(n) where they are its oldest.
-- The entry goes first: a user who may not LREM is refused before anything was done, and every user may RPUSH.
check_lanes(KEYS[2])
redis.call('LTRIM', KEYS[1], 0, -1) -- changes nothing: under out-of-memory the rest is allowed now
redis.call('LTRIM', KEYS[2], 0, -1) -- checks the type, too
local answer = {}
for i = 2, #ARGV, 2 do
  local count = redis.call('LREM', KEYS[1], ARGV[1], ARGV[i])
  if ARGV[i + 1] ~= '' then
    local queue = queue_of(ARGV[i + 1])
    for _ = 1, count do
      if put(ARGV[i + 1], queue, KEYS[2], false) then
        ring(KEYS[4], queue)
      end
    end
    if queue ~= 'default' and count > 0 then
      note(KEYS[3], queue)
    end
  end
  answer[#answer + 1] = count
end
return answer
