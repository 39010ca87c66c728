-- What waits in each queue, and a task that is claimed next from it: of its list, or of a lane where that is empty.
-- KEYS[1] ready list of the default queue    KEYS[2] front list    KEYS[3] names of the other queues
-- ARGV[1] at most so many bytes of a task
-- Returns {ms since 1970, queue, ready, scheduled, task ('' where none is ready or it is longer), ...}. O(queues).
local time = redis.call('TIME')
local answer = {string.format('%d%03d', time[1], math.floor(time[2] / 1000))}
local grouped = in_lanes(KEYS[1])
local function add(queue, front)
  local list = list_of(queue, KEYS[1])
  local ready = redis.call('LLEN', list) + (grouped[queue] or 0)
  local task = redis.call('LRANGE', list, 0, 0)[1]
  if front then
    ready = ready + redis.call('LLEN', front)
    task = redis.call('LRANGE', front, 0, 0)[1] or task
  end
  local lane = not task and grouped[queue] and redis.call('ZRANGE', ring_of(queue, KEYS[1]), 0, 0)[1]
  if lane then
    task = redis.call('LRANGE', '{' .. KEYS[1] .. '}:g:' .. lane, 0, 0)[1]
  end
  answer[#answer + 1] = queue
  answer[#answer + 1] = ready
  answer[#answer + 1] = redis.call('ZCARD', scheduled_of(queue, KEYS[1]))
  answer[#answer + 1] = task and #task <= tonumber(ARGV[1]) and task or ''
end
add('default', KEYS[2])
for _, queue in ipairs(redis.call('SMEMBERS', KEYS[3])) do
  add(queue)
end
return answer
