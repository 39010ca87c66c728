-- What scripts that claim have in common.
-- A claim is told by its start number; field `at` of the flight is that of the last one. The same again: its answer was lost, so
-- these are the tasks that it took (false where a number is gone), and nothing is taken. A lower one comes too late for
-- anybody: none. nil: this claim is new.
local function claimed_before(flight, start, count)
  local at = tonumber(redis.call('HGET', flight, 'at') or '0')
  if not at or at ~= at or at < start or at > start + 1e12 then -- not ours: no late send comes before so many others
    return nil
  end
  local tasks = {}
  if at == start then
    for number = start, start + count - 1 do
      tasks[#tasks + 1] = redis.call('HGET', flight, number)
    end
    while #tasks > 0 and not tasks[#tasks] do
      tasks[#tasks] = nil
    end
  end
  return tasks
end
