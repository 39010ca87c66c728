-- Push tasks to the ready lists of their queues, or into the scheduled sets, each if its unique key is free.
-- KEYS[1] ready list of the default queue    KEYS[2] names of the other queues    KEYS[3] bell    KEYS[4] front list
-- KEYS[5..] pairs: unique key, idempotency key, all in the slot of the ready list
-- ARGV[1] ms for which an idempotency key is kept    ARGV[2..] for each pair: ms after which the unique key is free (''
-- when its job frees it), 1 where a job that waits gets this task (else 0), type, id of the job, when it is due ('' at
-- once, +ms after now, ms since 1970), task, hash of the request's body ('' without an idempotency key)
-- Returns for each pair two values: `pushed`, `held` (a job has the unique key), `same` (the idempotency key stands for
-- this body: nothing done), `other` (for another body) or `odd` (another program has put a key of another type there),
-- and the id of the job that had the key then, or ''.
-- A task ends with its job_id: one that replaces another gets the id of the first. It is in the place of the first then,
-- unless it is due later. The first write is refused under out-of-memory, before anything was done. O(n log n); O(length of
-- the list) for what is replaced there.
local answer = {}
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local function push(queue, due, task)
  if due ~= '' then
    redis.call('ZADD', scheduled_of(queue, KEYS[1]), due_ms(due, now_ms), task)
  elseif put(task, queue, KEYS[1], false) then
    ring(KEYS[3], queue)
  end
end
local function keep(key, until_ms)
  if until_ms ~= '' then
    redis.call('PEXPIRE', key, until_ms)
  else
    redis.call('PERSIST', key)
  end
end
-- Put `task` where `old` waits; false: it does not wait any more.
local function replace(queue, group, job_type, due, old, task)
  if redis.call('ZREM', scheduled_of(queue, KEYS[1]), old) == 1 then
    push(queue, due, task)
    return true
  end
  local lists = {list_of(queue, KEYS[1])}
  if queue == 'default' then
    lists[2] = KEYS[4]
  end
  local names = {lane_of(queue, group, job_type), group ~= '' and lane_of(queue, group, '') or nil}
  for _, lane in ipairs(names) do
    lists[#lists + 1] = '{' .. KEYS[1] .. '}:g:' .. lane
  end
  for i, list in ipairs(lists) do
    if due == '' and redis.call('LINSERT', list, 'BEFORE', old, task) > 0 then
      redis.call('LREM', list, 1, old)
      return true
    elseif due ~= '' and redis.call('LREM', list, 1, old) == 1 then
      local lane = names[i - #lists + #names]
      if lane then
        leave_lane(lane, queue, 1, KEYS[1])
      end
      push(queue, due, task)
      return true
    end
  end
  return false
end
local function is_odd(value)
  return type(value) == 'table' and value.err
end
for i = 5, #KEYS, 2 do
  local key, idempotency, at = KEYS[i], KEYS[i + 1], (i - 5) / 2 * 7 + 2
  local until_ms, replaces, job_type, id, due, task, body_hash = unpack(ARGV, at, at + 6)
  local word, holder = 'odd', ''
  local known = body_hash ~= '' and redis.pcall('GET', idempotency)
  local held = redis.pcall('HMGET', key, 'id', 'type', 'task')
  local fault = is_odd(known) or is_odd(held)
  if fault then
    if not string.find(fault, 'WRONGTYPE', 1, true) then
      return {err = fault}
    end
  elseif known then
    word, holder = 'other', ''
    if string.sub(known, 1, #body_hash) == body_hash then
      word, holder = 'same', string.sub(known, #body_hash + 1)
    end
  elseif held[1] then
    word, holder = 'held', held[1]
    local queue = queue_of(task)
    if replaces == '1' and held[2] == job_type and held[3] and queue_of(held[3]) == queue
      and group_of(held[3]) == group_of(task) then
      local new = string.sub(task, 1, -39) .. holder .. '"}' -- 36 characters of the id, a quote and a brace
      if replace(queue, group_of(task), job_type, due, held[3], new) then
        redis.call('HSET', key, 'task', new)
        keep(key, until_ms)
      end
    end
  else
    local queue = queue_of(task)
    push(queue, due, task)
    if queue ~= 'default' then
      note(KEYS[2], queue)
    end
    redis.call('HSET', key, 'id', id, 'type', job_type, 'task', task)
    keep(key, until_ms)
    word = 'pushed'
  end
  if body_hash ~= '' and (word == 'pushed' or word == 'held') then
    redis.call('SET', idempotency, body_hash .. holder, 'PX', ARGV[1])
  end
  answer[#answer + 1] = word
  answer[#answer + 1] = holder
end
return answer
