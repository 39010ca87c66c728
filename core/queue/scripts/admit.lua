-- Decide which claimed tasks may run now, of those that came from a list and have a group or a limited type: the others
-- move to their lanes (_lanes.lua), in the order of the list.
-- KEYS[1] ready list of the default queue    KEYS[2] in-flight hash
-- ARGV[1] lease    ARGV[2..] of each run of tasks of one kind: first number, last number, queue, group ('' for none), type
-- Returns for each number, in this order, 1 (it may run, by an earlier send perhaps), 2 (and counts for the limit of its type) or 0 (no longer in this
-- flight). Whether a type is limited is looked up here: the caller may not know yet. May be repeated. O(n).
check_lanes(KEYS[1])
redis.call('LTRIM', KEYS[1], 0, -1) -- changes nothing: under out-of-memory the rest is allowed now
local lanes = lanes_in(KEYS[1])
local answer = {}
local function say(_, may_run)
  answer[#answer + 1] = may_run
end
for i = 2, #ARGV, 5 do
  local first, last, queue, group, kind = unpack(ARGV, i, i + 4)
  for from = tonumber(first), tonumber(last), 200 do -- unpack has a limit
    local numbers = {}
    for number = from, math.min(from + 199, tonumber(last)) do
      numbers[#numbers + 1] = number
    end
    lanes.admit(KEYS[2], ARGV[1], numbers, queue, group, kind, say)
  end
end
return answer
