-- Decide which claimed tasks may run now, of those that came from a list and have a group or a limited type: the others
-- move to their lanes (_lanes.lua), in the order of the list.
-- KEYS[1] ready list of the default queue    KEYS[2] in-flight hash
-- ARGV[1] lease    ARGV[2..] of each: number, queue, group ('' for none), type where it is limited, else ''
-- Returns for each 1 (it has a permit, by an earlier send perhaps) or 0 (no longer in this flight). May be repeated. O(n).
redis.call('LTRIM', KEYS[1], 0, -1) -- changes nothing: under out-of-memory the rest is allowed now
local lanes = lanes_in(KEYS[1])
local answer = {}
for i = 2, #ARGV, 4 do
  local number, queue, group, kind = unpack(ARGV, i, i + 3)
  local task = redis.call('HGET', KEYS[2], number)
  local runs = task and (lanes.has_permit(ARGV[1], number) or lanes.admit(ARGV[1], number, task, queue, group, kind))
  if task and not runs then
    redis.call('HDEL', KEYS[2], number)
  end
  answer[#answer + 1] = runs and 1 or 0
end
return answer
