-- Push tasks to the ready list, each once for its idempotency key.
-- KEYS[1] ready list    KEYS[2..] one idempotency key a task, all in the slot of the ready list
-- ARGV[1] ms for which a key is kept    ARGV[2..] pairs: hash of the request's body, task
-- Returns for each task `pushed`, `same` (the key stands for this body: nothing done), `other` (for another body) or
-- `odd` (another program has put a key of another type there: nothing done, and its neighbours go on).
-- The first write is refused under out-of-memory, before anything was done. RPUSH first, the key second. O(n).
local answer = {}
for i = 2, #KEYS do
  local body_hash, task = ARGV[2 * i - 2], ARGV[2 * i - 1]
  local held = redis.pcall('GET', KEYS[i])
  if type(held) == 'table' then
    if not string.find(held.err, 'WRONGTYPE', 1, true) then
      return held
    end
    answer[#answer + 1] = 'odd'
  elseif not held then
    redis.call('RPUSH', KEYS[1], task)
    redis.call('SET', KEYS[i], body_hash, 'PX', ARGV[1])
    answer[#answer + 1] = 'pushed'
  else
    answer[#answer + 1] = held == body_hash and 'same' or 'other'
  end
end
return answer
