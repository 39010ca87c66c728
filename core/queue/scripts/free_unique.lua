-- Free unique keys: their jobs have ended, or a worker has them.
-- KEYS[1] in-flight hash    KEYS[2..] unique keys, in its slot
-- ARGV[1] 1: the tasks leave the flight, 0: they stay    ARGV[2..] for each key a pair: number in the flight, id of the job
-- Returns how many tasks were in the flight; of the others nothing is done. Sent twice, the second time answers 0 where
-- they leave. A key that holds another job by now stays, and so does one that another program has made. O(n).
local count = 0
local ready, lease = owner_of(KEYS[1])
check_lanes(ready)
for i = 2, #KEYS do
  local number, id = ARGV[2 * i - 2], ARGV[2 * i - 1]
  if redis.call('HEXISTS', KEYS[1], number) == 1 then
    count = count + 1
    if redis.pcall('HGET', KEYS[i], 'id') == id then
      redis.call('DEL', KEYS[i])
    end
    if ARGV[1] == '1' then
      redis.call('HDEL', KEYS[1], number)
      release(ready, lease, number)
    end
  end
end
return count
