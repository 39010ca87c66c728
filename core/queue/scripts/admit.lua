-- Decide which claimed tasks may run now, of those that came from a list and have a group or a limited type: the others
-- move to their lanes (_lanes.lua), in the order of the list.
-- KEYS[1] ready list of the default queue    KEYS[2] in-flight hash
-- ARGV[1] lease    ARGV[2..] of each: number, queue, group ('' for none), type
-- Returns for each 1 (it may run, by an earlier send perhaps), 2 (and counts for the limit of its type) or 0 (no longer in this
-- flight). Whether a type is limited is looked up here: the caller may not know yet. May be repeated. O(n).
check_lanes(KEYS[1])
redis.call('LTRIM', KEYS[1], 0, -1) -- changes nothing: under out-of-memory the rest is allowed now
local lanes = lanes_in(KEYS[1])
local answer = {}
for i = 2, #ARGV, 4 do
  local number, queue, group, kind = unpack(ARGV, i, i + 3)
  local task = redis.call('HGET', KEYS[2], number)
  local may_run = task and lanes.admit(ARGV[1], number, task, queue, group, kind) or 0
  if task and may_run == 0 then
    redis.call('HDEL', KEYS[2], number)
  end
  answer[#answer + 1] = may_run
end
return answer
