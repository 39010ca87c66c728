-- Push tasks to the ready list, or into the scheduled set, each once for its idempotency key.
-- KEYS[1] ready list    KEYS[2] scheduled set    KEYS[3..] one idempotency key a task, all in the slot of the ready list
-- ARGV[1] ms for which a key is kept    ARGV[2..] triples: hash of the request's body, when it is due ('' at once, +ms
-- after now, ms since 1970), task
-- Returns for each task `pushed`, `same` (the key stands for this body: nothing done), `other` (for another body) or
-- `odd` (another program has put a key of another type there: nothing done, and its neighbours go on).
-- The first write is refused under out-of-memory, before anything was done. The task first, the key second. O(n log n).
local answer = {}
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
for i = 3, #KEYS do
  local body_hash, due, task = ARGV[3 * i - 7], ARGV[3 * i - 6], ARGV[3 * i - 5]
  local held = redis.pcall('GET', KEYS[i])
  if type(held) == 'table' then
    if not string.find(held.err, 'WRONGTYPE', 1, true) then
      return held
    end
    answer[#answer + 1] = 'odd'
  elseif not held then
    if due == '' then
      redis.call('RPUSH', KEYS[1], task)
    else
      local after = string.match(due, '^%+(.*)$')
      redis.call('ZADD', KEYS[2], after and now_ms + tonumber(after) or tonumber(due), task)
    end
    redis.call('SET', KEYS[i], body_hash, 'PX', ARGV[1])
    answer[#answer + 1] = 'pushed'
  else
    answer[#answer + 1] = held == body_hash and 'same' or 'other'
  end
end
return answer
