-- How many tasks are where.
-- KEYS[1] ready list of the default queue    KEYS[2] front list    KEYS[3] its scheduled set    KEYS[4] dead letters
-- KEYS[5] how many are parked, by type    KEYS[6] pauses    KEYS[7] names of the other queues
-- Returns {ready, scheduled, dead, HGETALL of KEYS[5], HGETALL of KEYS[6], queue, its ready, its scheduled, ...} of the
-- other queues; ready and scheduled are those of all queues together. O(queues).
local grouped = in_lanes(KEYS[1])
local ready = redis.call('LLEN', KEYS[1]) + redis.call('LLEN', KEYS[2]) + (grouped.default or 0)
local scheduled = redis.call('ZCARD', KEYS[3])
local answer = {0, 0, redis.call('LLEN', KEYS[4]), redis.call('HGETALL', KEYS[5]), redis.call('HGETALL', KEYS[6])}
for _, queue in ipairs(redis.call('SMEMBERS', KEYS[7])) do
  local its_ready = redis.call('LLEN', list_of(queue, KEYS[1])) + (grouped[queue] or 0)
  local its_scheduled = redis.call('ZCARD', scheduled_of(queue, KEYS[1]))
  ready, scheduled = ready + its_ready, scheduled + its_scheduled
  answer[#answer + 1] = queue
  answer[#answer + 1] = its_ready
  answer[#answer + 1] = its_scheduled
end
answer[1], answer[2] = ready, scheduled
return answer
