-- Fire schedules, without Postgres: where the due time of one is still the one that was read, its tasks are pushed and it
-- moves on; so a due time makes its tasks once, and a repeat does nothing. Those that were left behind for 30 days go.
-- KEYS[1] ready list    KEYS[2] names of the other queues    KEYS[3] bell    KEYS[4] sorted set: schedule -> due time in ms
-- ARGV of each: schedule, due time that was read ('': it is not there), the next one ('': only read it), queue, 1 where its
-- tasks wait, number of tasks; then of each task: ms that it waits, task
-- Returns the ms of Redis's clock, then for each the due time that it has now ('': it is not there). Of one schedule all is
-- done or nothing: the first write, which may be refused, is to the one key of its tasks. O(n log n).
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local answer = {string.format('%d', now_ms)}
local i = 1
while i <= #ARGV do
  local schedule, seen, next_ms, queue, waits, count = unpack(ARGV, i, i + 5)
  local stands = redis.call('ZSCORE', KEYS[4], schedule) or ''
  local last = i + 5 + 2 * tonumber(count)
  if next_ms ~= '' and stands == seen then
    for j = i + 6, last, 2 do
      if waits == '1' then
        redis.call('ZADD', scheduled_of(queue, KEYS[1]), now_ms + tonumber(ARGV[j]), ARGV[j + 1])
      else
        redis.call('RPUSH', list_of(queue, KEYS[1]), ARGV[j + 1])
      end
    end
    redis.call('ZADD', KEYS[4], next_ms, schedule)
    stands = next_ms
    if queue ~= 'default' and last > i + 5 then
      note(KEYS[2], queue)
      ring(KEYS[3], queue)
    end
  end
  answer[#answer + 1] = stands
  i = last + 1
end
local left = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now_ms - 2592000000, 'LIMIT', 0, 100)
if #left > 0 then
  redis.call('ZREM', KEYS[4], unpack(left))
end
return answer
