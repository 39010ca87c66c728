-- Claim the first tasks of lanes without permits (_lanes.lua), to look for copies of jobs that have ended among them. Who
-- does so has a permit of each lane, and gives back what is no copy (return_ahead.lua) before it gives that up. Lanes
-- that no limit holds up are passed over: their copies go by the hundred.
-- KEYS[1] ready list of the default queue    KEYS[2] leases    KEYS[3] this lease's in-flight hash
-- ARGV[1] lease    ARGV[2] how many of each lane (>= 1)    ARGV[3] at most so many bytes    ARGV[4] start number
-- ARGV[5..] lanes, at most 1,000 tasks in all
-- Returns {which lane, task, ...} under numbers from start on, {-1} when the lease is lost; for a repeated claim {0, task
-- or false, ...}, as the lanes are not known any more. O(lanes + tasks).
local ready, flight = KEYS[1], KEYS[3]
local score = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not score or tonumber(score) <= 0 then
  return {-1}
end
local each, start, lane_count = tonumber(ARGV[2]), tonumber(ARGV[4]), #ARGV - 4
local answer, before = {}, claimed_before(flight, start, each * lane_count)
for _, task in ipairs(before or {}) do
  answer[#answer + 1] = 0
  answer[#answer + 1] = task
end
if before then
  return answer
end
check_lanes(ready)
redis.call('LTRIM', ready, 0, -1) -- changes nothing: under out-of-memory the rest is allowed now
redis.call('HSET', flight, 'at', ARGV[4])
local lanes, bytes, number = lanes_in(ready), 0, start
for i = 1, lane_count do
  local lane = ARGV[4 + i]
  local list = '{' .. ready .. '}:g:' .. lane
  local tasks = lanes.holds_up(lane) and redis.pcall('LRANGE', list, 0, each - 1) or {}
  local taken = {}
  for _, task in ipairs(tasks.err and {} or tasks) do -- another program has put it there: not ours
    bytes = bytes + #task
    if bytes > tonumber(ARGV[3]) then
      break
    end
    redis.call('HSET', flight, number, task)
    answer[#answer + 1] = i
    answer[#answer + 1] = task
    taken[#taken + 1] = task
    number = number + 1
  end
  if #taken > 0 then
    redis.call('LTRIM', list, #taken, -1)
    lanes.leave(lane, taken)
  end
end
return answer
