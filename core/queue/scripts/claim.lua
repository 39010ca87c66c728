-- Claim up to ARGV[2] tasks for one worker from the heads of its queues: of the default one from the front list first. Where
-- lanes wait in a queue (_lanes.lua), they and its list give half each as far as they have it; those tasks get permits.
-- KEYS[1] ready list    KEYS[2] front list    KEYS[3] leases    KEYS[4] this lease's in-flight hash    KEYS[5] pauses
-- KEYS[6] names of the queues besides the default one
-- ARGV[1] lease    ARGV[2] how many (>= 1)    ARGV[3] at most so many bytes, the first task always    ARGV[4] start number
-- ARGV[5] how many queues (0: the default one alone), ARGV[6..] pairs: queue, how many at least as far as it has them;
-- what some of them lack, the others give, in their order. Paused ones are passed over.
-- Behind them: ids for tasks that have none, used in order: where few are taken, a trip for their names alone would cost a
-- third of the time to their start. Only the first of a claim are looked at, as many as there are ids, and those of
-- which it is plain what they are; assign_ids.lua is for the others.
-- Returns {start, task, task, ...} (false where a number of a repeated claim is gone), or {-1} when the lease is lost. A task
-- that has a permit stands in a list of its own.
-- In the place of `start` stands {{field, value, ...} of the pauses (set_paused.lua), the same of the limits of types
-- (set_limits.lua)}, where there are any, or lanes. Those of types are not looked at here, because a task of the list would have to
-- be decoded.
-- A task of another queue than the default one says so: where another program has not, the claim adds it.
-- A claim that was sent before takes nothing (_flights.lua).
-- Copy first, remove last: Redis does not roll back a script that fails half way. O(n), n <= ARGV[2].
local ready, front, flight = KEYS[1], KEYS[2], KEYS[4]
local score = redis.call('ZSCORE', KEYS[3], ARGV[1])
if not score or tonumber(score) <= 0 then
  return {-1}
end
local count_max, bytes_max, start = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local paused = redis.call('HGETALL', KEYS[5])
local limited = redis.call('HGETALL', '{' .. ready .. '}:limits')
local permits = '{' .. ready .. '}:permits:' .. ARGV[1]
local has_lanes = redis.call('EXISTS', '{' .. ready .. '}:lanes', permits) > 0
local answer = {(#paused > 0 or #limited > 0 or has_lanes) and {paused, limited} or start}
local before = claimed_before(flight, start, count_max)
if before then
  for i, task in ipairs(before) do
    answer[#answer + 1] = task and redis.call('HEXISTS', permits, start + i - 1) == 1 and {task} or task
  end
  return answer
end

local queue_count = tonumber(ARGV[5])
local ids_from = 5 + 2 * queue_count
local is_paused = {}
for i = 1, #paused, 2 do
  is_paused[paused[i]] = true
end

local used = ids_from
local function named(task)
  if #task > 4096 or string.find(task, '"job_id"', 1, true) then
    return task
  end
  local members = string.match(task, '^%s*({.*)}%s*$')
  local ok, value = pcall(cjson.decode, task)
  if not members or not ok or type(value) ~= 'table' or type(value.type) ~= 'string' or value.job_id ~= nil then
    return task
  end
  used = used + 1
  return members .. ',"job_id":"' .. ARGV[used] .. '"}'
end

local function with_queue(task, queue)
  if string.find(task, '"queue":"' .. queue .. '"', 1, true) then
    return task
  end
  local members = string.match(task, '^%s*({.*)}%s*$')
  local ok, value = pcall(cjson.decode, task)
  if not members or not ok or type(value) ~= 'table' or type(value.type) ~= 'string' or value.queue ~= nil then
    return task
  end
  return members .. ',"queue":"' .. queue .. '"}'
end

if has_lanes then
  check_lanes(ready)
end
redis.call('LTRIM', ready, 0, -1) -- changes nothing: under out-of-memory the rest is allowed now; checks the type too
redis.call('LTRIM', front, 0, -1)
redis.call('HSET', flight, 'at', ARGV[4])
local count, bytes, full = 0, 0, false
local function take(source, queue, limit)
  local taken = 0
  while not full and taken < limit and count < count_max do
    -- Pieces, so that tasks of a MiB each are not read by the thousand; 100 pairs, because unpack has a limit.
    local fits = count == 0 and 16 or math.max(1, math.floor((bytes_max - bytes) / (bytes / count)))
    local wanted = math.min(count_max - count, limit - taken, fits, 100)
    local tasks = redis.call('LRANGE', source, taken, taken + wanted - 1)
    if #tasks == 0 then
      break
    end
    local pairs_ = {}
    for _, task in ipairs(tasks) do
      if count > 0 and bytes + #task > bytes_max then
        full = true
        break
      end
      if queue ~= 'default' then
        task = with_queue(task, queue)
      end
      if count < #ARGV - ids_from then
        task = named(task)
      end
      pairs_[#pairs_ + 1] = start + count
      pairs_[#pairs_ + 1] = task
      answer[#answer + 1] = task
      count, bytes, taken = count + 1, bytes + #task, taken + 1
    end
    if #pairs_ > 0 then
      redis.call('HSET', flight, unpack(pairs_))
    end
  end
  if taken > 0 then
    redis.call('LTRIM', source, taken, -1)
  end
  return taken
end
local function take_listed(queue, limit)
  if queue ~= 'default' then
    local taken = take(list_of(queue, ready), queue, limit)
    if taken > 0 then
      note(KEYS[6], queue) -- another program may have pushed there first
    end
    return taken
  end
  local taken = take(front, queue, limit)
  return taken + take(ready, queue, limit - taken)
end
local lanes = has_lanes and lanes_in(ready)
local toss = 0
if lanes then
  lanes.wake_due()
  toss = redis.call('TIME')[2] % 2 -- who comes first, where a claim takes one task
end
local function take_from(queue, limit)
  limit = math.min(limit, count_max - count)
  if limit < 1 or is_paused['q:' .. queue] then
    return
  end
  if not lanes or redis.call('EXISTS', ring_of(queue, ready)) == 0 then
    take_listed(queue, limit)
    return
  end
  local pending = {}
  local function accept(task)
    if count >= count_max or (count > 0 and bytes + #task > bytes_max) then
      full = full or count < count_max
      return nil
    end
    if queue ~= 'default' then
      task = with_queue(task, queue)
    end
    if count < #ARGV - ids_from then
      task = named(task)
    end
    local number = start + count
    pending[#pending + 1] = number
    pending[#pending + 1] = task
    answer[#answer + 1] = {task}
    count, bytes = count + 1, bytes + #task
    return number
  end
  local function keep()
    for i = 1, #pending, 200 do
      redis.call('HSET', flight, unpack(pending, i, math.min(i + 199, #pending)))
    end
    pending = {}
  end
  local function take_turns(wanted)
    return lanes.take_turns(ARGV[1], queue, math.min(wanted, count_max - count), accept, keep)
  end
  local taken = take_turns(math.floor((limit + toss) / 2))
  taken = taken + take_listed(queue, limit - taken)
  take_turns(limit - taken)
end
if queue_count == 0 then
  take_from('default', count_max)
else
  for round = 1, 2 do
    for i = 6, ids_from, 2 do
      take_from(ARGV[i], round == 1 and tonumber(ARGV[i + 1]) or count_max)
    end
  end
end
return answer
