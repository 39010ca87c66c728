-- Give tasks back from a flight: to the head of the ready list of their queue (of the lane of their group), or into its
-- scheduled set; in a group whose order is kept they wait for their time at its head. Their permits go (_lanes.lua).
-- KEYS[1] ready list of the default queue    KEYS[2] its scheduled set    KEYS[3] in-flight hash    KEYS[4] bell
-- KEYS[5] names of the other queues
-- ARGV triples: number, delay in ms (0: head of the ready list), task ('' = as it is in the flight)
-- Returns a list of 1 and 0 (not in this flight: nothing done). Sent twice, the second time answers 0.
-- Triples are worked off in order: give the highest number first to keep the order at the head. O(n).
redis.call('LTRIM', KEYS[1], 0, -1) -- changes nothing: under out-of-memory the rest is allowed now
redis.call('ZREMRANGEBYRANK', KEYS[2], 1, 0)
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local answer = {}
local ready, lease = KEYS[1], string.match(KEYS[3], '[^:]*$')
check_lanes(ready)
for i = 1, #ARGV, 3 do
  local held = redis.call('HGET', KEYS[3], ARGV[i])
  if held then
    local task = ARGV[i + 2] == '' and held or ARGV[i + 2]
    local delay_ms = tonumber(ARGV[i + 1])
    local queue = queue_of(task)
    local kind = release(ready, lease, ARGV[i]) -- its type, where that is limited
    local group = group_of(task)
    if delay_ms == 0 then
      if group == '' and kind ~= '' then -- before those that wait in its lane
        push_to_lane(lane_of(queue, '', kind), {task}, true, ready)
        ring(KEYS[4], queue)
      elseif put(task, queue, ready, true) then
        ring(KEYS[4], queue)
      end
    else
      local lanes = group ~= '' and lanes_in(ready)
      if lanes and lanes.is_strict(group) then
        lanes.put_off(lane_of(queue, group, ''), task, now_ms + delay_ms)
      else
        redis.call('ZADD', scheduled_of(queue, ready), now_ms + delay_ms, task)
      end
    end
    if queue ~= 'default' then
      note(KEYS[5], queue) -- a Redis that has lost its data knows no queue
    end
    redis.call('HDEL', KEYS[3], ARGV[i])
    answer[#answer + 1] = 1
  else
    answer[#answer + 1] = 0
  end
end
return answer
