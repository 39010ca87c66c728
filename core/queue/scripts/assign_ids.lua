-- Give tasks that came without a job_id one, before anything else is done with them.
-- KEYS[1] leases    KEYS[2] in-flight hash
-- ARGV[1] lease     ARGV[2..] pairs: number, task with its new job_id
-- Returns a list of 1 (named) and 0 (no longer in this flight, or the lease is lost: no row may be made). O(n).
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
local lives = score and tonumber(score) > 0
redis.call('ZREMRANGEBYRANK', KEYS[1], 1, 0) -- changes nothing: under out-of-memory the rest is allowed now
local answer = {}
for i = 2, #ARGV, 2 do
  if lives and redis.call('HEXISTS', KEYS[2], ARGV[i]) == 1 then
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
    answer[#answer + 1] = 1
  else
    answer[#answer + 1] = 0
  end
end
return answer
