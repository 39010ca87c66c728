-- Push tasks to the ready lists of their queues, or into the scheduled sets, each once for its idempotency key.
-- KEYS[1] ready list of the default queue    KEYS[2] names of the other queues    KEYS[3] bell
-- KEYS[4..] one idempotency key a task, all in the slot of the ready list
-- ARGV[1] ms for which a key is kept    ARGV[2..] triples: hash of the request's body, when it is due ('' at once, +ms
-- after now, ms since 1970), task
-- Returns for each task `pushed`, `same` (the key stands for this body: nothing done), `other` (for another body) or
-- `odd` (another program has put a key of another type there: nothing done, and its neighbours go on).
-- The first write is refused under out-of-memory, before anything was done. The task first, the key second. O(n log n).
local answer = {}
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
for i = 4, #KEYS do
  local body_hash, due, task = ARGV[3 * i - 10], ARGV[3 * i - 9], ARGV[3 * i - 8]
  local held = redis.pcall('GET', KEYS[i])
  if type(held) == 'table' then
    if not string.find(held.err, 'WRONGTYPE', 1, true) then
      return held
    end
    answer[#answer + 1] = 'odd'
  elseif not held then
    local queue = queue_of(task)
    if due ~= '' then
      redis.call('ZADD', scheduled_of(queue, KEYS[1]), due_ms(due, now_ms), task)
    elseif put(task, queue, KEYS[1], false) then
      ring(KEYS[3], queue)
    end
    if queue ~= 'default' then
      note(KEYS[2], queue)
    end
    redis.call('SET', KEYS[i], body_hash, 'PX', ARGV[1])
    answer[#answer + 1] = 'pushed'
  else
    answer[#answer + 1] = held == body_hash and 'same' or 'other'
  end
end
return answer
