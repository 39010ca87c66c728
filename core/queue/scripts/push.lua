-- Push tasks to the ready lists of their queues, or to the lanes of their groups.
-- KEYS[1] ready list of the default queue    KEYS[2] names of the other queues    KEYS[3] bell
-- ARGV pairs: queue, task
-- Returns how many. The first write is refused under out-of-memory, before anything was done. O(n).
local rung = {}
for i = 1, #ARGV, 2 do
  local queue = ARGV[i]
  if put(ARGV[i + 1], queue, KEYS[1], false) and not rung[queue] then
    rung[queue] = true
    if queue ~= 'default' then
      note(KEYS[2], queue)
    end
    ring(KEYS[3], queue)
  end
end
return #ARGV / 2
