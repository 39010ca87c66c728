-- Lanes: tasks that wait by their group, or by a type that is limited; and the permits of those that were claimed.
-- A lane is named `<queue>:<bytes of group>:<group><type>`: the type is '' unless its tasks were found to be limited by it.
-- Its tasks are in the list g:<lane>. A lane that has tasks is in `lanes`, and in one of these: the ring of its queue
-- (sorted set: turn, the lowest is next); blocked:<queue>:<scope> (sorted set), with its scope in the hash `blocked`, where it
-- waits for a permit; `later` (sorted set: ms), where it waits for a rate; `behind` (the same), where its first task waits for its time.
-- A permit is an entry of permits:<lease>: number in the flight -> `<bytes of group>:<group><type>`, made and removed with
-- that number. The hash `running` counts them by scope (group:X, type:X); `holders` is the set of leases with any.
-- Limits: hashes `limits` (of types) and `group_limits`: scope -> `<running> <interval in us> <tolerance in us>`, 0 for
-- none.
-- `not_before`: sorted set scope -> us: the theoretical arrival time of its next start (GCRA).
-- All keys are made from the ready list's, in its slot. What is read of limits is kept for the length of the script.
local function lane_of(queue, group, kind)
  return queue .. ':' .. #group .. ':' .. group .. kind
end
-- The group of a task, '' where it has none.
local function group_of(task)
  if string.find(task, '"group"', 1, true) then
    local ok, value = pcall(cjson.decode, task)
    local name = ok and type(value) == 'table' and value.group
    if type(name) == 'string' and #name <= 800 then
      return name
    end
  end
  return ''
end
-- The type of a task, '' where it has none.
local function kind_of(task)
  local ok, value = pcall(cjson.decode, task)
  return ok and type(value) == 'table' and type(value.type) == 'string' and value.type or ''
end
-- A lane to one end of a sorted set of lanes.
local function place(key, lane, at_head)
  local edge = redis.call('ZRANGE', key, at_head and 0 or -1, at_head and 0 or -1, 'WITHSCORES')
  redis.call('ZADD', key, edge[2] and tonumber(edge[2]) + (at_head and -1 or 1) or 0, lane)
end
local function ring_of(queue, ready)
  return queue == 'default' and '{' .. ready .. '}:ring' or '{' .. ready .. '}:q:' .. queue .. ':ring'
end
local function push_to_lane(lane, tasks, at_head, ready)
  local prefix, queue = '{' .. ready .. '}:', string.match(lane, '^[%w_-]+')
  local is_new = redis.call('LLEN', prefix .. 'g:' .. lane) == 0
  if is_new then -- each fails on a key of another type, before anything is done
    redis.call('HLEN', prefix .. 'grouped')
    redis.call('SCARD', prefix .. 'lanes')
    redis.call('ZCARD', ring_of(queue, ready))
  end
  redis.call('HINCRBY', prefix .. 'grouped', queue, #tasks)
  redis.call(at_head and 'LPUSH' or 'RPUSH', prefix .. 'g:' .. lane, unpack(tasks))
  if is_new then
    redis.call('SADD', prefix .. 'lanes', lane)
    place(ring_of(queue, ready), lane, false)
  end
end
-- Push a task to the tail (or the head) of the list where it waits: of its group's lane, or of its queue. True: a bell has
-- to ring for it.
local function put(task, queue, ready, at_head)
  local group = group_of(task)
  if group ~= '' then
    push_to_lane(lane_of(queue, group, ''), {task}, at_head, ready)
  else
    redis.call(at_head and 'LPUSH' or 'RPUSH', list_of(queue, ready), task)
  end
  return group ~= '' or queue ~= 'default'
end
local function unblock(lane, scope, ready)
  redis.call('ZREM', '{' .. ready .. '}:blocked:' .. string.match(lane, '^[%w_-]+') .. ':' .. scope, lane)
  redis.call('HDEL', '{' .. ready .. '}:blocked', lane)
end
-- `count` tasks have left a lane.
local function leave_lane(lane, queue, count, ready)
  local prefix = '{' .. ready .. '}:'
  if redis.call('HINCRBY', prefix .. 'grouped', queue, -count) <= 0 then
    redis.call('HDEL', prefix .. 'grouped', queue)
  end
  if redis.call('EXISTS', prefix .. 'g:' .. lane) == 1 then
    return
  end
  redis.call('SREM', prefix .. 'lanes', lane)
  redis.call('ZREM', ring_of(queue, ready), lane)
  redis.call('ZREM', prefix .. 'later', lane)
  redis.call('ZREM', prefix .. 'behind', lane)
  local scope = redis.call('HGET', prefix .. 'blocked', lane)
  if scope then
    unblock(lane, scope, ready)
  end
end
-- Fails where a key of lanes has another type, before anything is done; nothing where none is used.
local function check_lanes(ready)
  local prefix = '{' .. ready .. '}:'
  if redis.call('EXISTS', prefix .. 'lanes', prefix .. 'holders') == 0 then
    return
  end
  for _, name in ipairs({'grouped', 'running', 'blocked', 'group_limits', 'limits'}) do
    redis.call('HLEN', prefix .. name)
  end
  for _, name in ipairs({'ring', 'later', 'behind', 'not_before'}) do
    redis.call('ZCARD', prefix .. name)
  end
  redis.call('SCARD', prefix .. 'lanes')
  redis.call('SCARD', prefix .. 'holders')
end
local function lanes_in(ready)
  local prefix = '{' .. ready .. '}:'
  local self, limits, rooms, permits, taken_of = {}, {}, {}, {}, {}
  local now_us, has_blocked, has_limits

  local function clock()
    if not now_us then
      local time = redis.call('TIME')
      now_us = time[1] * 1000000 + time[2]
    end
    return now_us
  end

  local function parts(lane)
    local queue, length, rest = string.match(lane, '^([%w_-]+):(%d+):(.*)$')
    if not queue then
      return 'default', '', '' -- another program has put it there: it has no tasks, and goes with its turn
    end
    return queue, string.sub(rest, 1, tonumber(length)), string.sub(rest, tonumber(length) + 1)
  end

  local function scopes(group, kind)
    local found = {}
    if group ~= '' then
      found[1] = 'group:' .. group
    end
    if kind ~= '' then
      found[#found + 1] = 'type:' .. kind
    end
    return found
  end

  local function list(lane)
    return prefix .. 'g:' .. lane
  end

  local function block(lane, scope)
    place(prefix .. 'blocked:' .. parts(lane) .. ':' .. scope, lane, false)
    redis.call('HSET', prefix .. 'blocked', lane, scope)
    has_blocked = true
  end

  local function enter(lane, at_head)
    place(ring_of((parts(lane)), ready), lane, at_head)
  end

  local function limit(scope)
    if not limits[scope] then
      local text
      if string.sub(scope, 1, 5) == 'type:' then
        text = redis.call('HGET', prefix .. 'limits', scope)
      elseif limits.of_groups == nil then
        limits.of_groups = redis.call('EXISTS', prefix .. 'group_limits') == 1
        return limit(scope)
      elseif limits.of_groups then
        text = redis.call('HGET', prefix .. 'group_limits', scope) or redis.call('HGET', prefix .. 'group_limits', 'groups')
      end
      local running, interval, tolerance = string.match(text or '', '^(%d+) (%d+) (%d+)$')
      limits[scope] = {tonumber(running) or 0, tonumber(interval) or 0, tonumber(tolerance) or 0}
    end
    return unpack(limits[scope])
  end

  local function is_limited(kind)
    return kind ~= '' and redis.call('HEXISTS', prefix .. 'limits', 'type:' .. kind) == 1
  end

  -- How many may start now, those that this script has permitted left out. 0: from which ms on one may, or nothing where a
  -- permit has to be released first.
  local function room(scope)
    if has_limits == nil then
      has_limits = redis.call('EXISTS', prefix .. 'limits', prefix .. 'group_limits', prefix .. 'not_before') > 0
    end
    if not has_limits then
      return math.huge
    end
    local its = rooms[scope]
    if not its then
      local running, interval, tolerance = limit(scope)
      its = {left = math.huge, arrival = 0, interval = interval, tolerance = tolerance, started = 0}
      if running > 0 then
        its.left = running - tonumber(redis.call('HGET', prefix .. 'running', scope) or '0')
      end
      its.arrival = tonumber(redis.call('ZSCORE', prefix .. 'not_before', scope) or '0')
      rooms[scope] = its
    end
    if its.left <= 0 then
      return 0
    elseif its.interval == 0 and its.arrival == 0 then
      return its.left
    end
    local ahead = math.max(its.arrival - clock(), 0) + its.started * its.interval
    if ahead > its.tolerance then
      return 0, math.ceil((clock() + ahead - its.tolerance) / 1000)
    elseif its.interval == 0 then
      return its.left
    end
    return math.min(its.left, math.floor((its.tolerance - ahead) / its.interval) + 1)
  end

  -- Of each queue the lane that has waited longest for a permit of this scope has its turn, if there is one: not each queue
  -- has a worker that takes from it. True: there was one.
  local function wake(scope)
    if has_blocked == nil then
      has_blocked = redis.call('EXISTS', prefix .. 'blocked') == 1
    end
    local found = false
    if not has_blocked then
      return found
    end
    for _, queue in ipairs(redis.call('HKEYS', prefix .. 'grouped')) do
      local lane = redis.call('ZRANGE', prefix .. 'blocked:' .. queue .. ':' .. scope, 0, 0)[1]
      local free, from_ms = 0, nil
      if lane then
        free, from_ms = room(scope)
      end
      if free > 0 then
        unblock(lane, scope, ready)
        enter(lane, true)
        ring(prefix .. 'bell', queue)
        found = true
      elseif from_ms then
        unblock(lane, scope, ready)
        redis.call('ZADD', prefix .. 'later', from_ms, lane)
      end
    end
    return found
  end

  -- How many of these scopes may start now; where none may, the scope that is in the way, and from which ms on.
  local function room_of(found)
    local least = math.huge
    for _, scope in ipairs(found) do
      local free, from_ms = room(scope)
      if free <= 0 then
        return 0, scope, from_ms
      end
      least = math.min(least, free)
    end
    return least
  end

  -- A lane that may not start anything leaves the ring. A permit that it might have taken of another scope is for others.
  local function set_aside(lane, queue, found, scope, from_ms)
    redis.call('ZREM', ring_of(queue, ready), lane)
    if from_ms then
      redis.call('ZADD', prefix .. 'later', from_ms, lane)
    else
      block(lane, scope)
    end
    for _, other in ipairs(found) do
      if other ~= scope then
        wake(other)
      end
    end
  end

  -- Permits for these numbers, which `write` writes down; `starts`: they count for the rates.
  local function permit(numbers, found, held, starts)
    local last = #permits
    for i, number in ipairs(numbers) do
      permits[last + 2 * i - 1], permits[last + 2 * i] = number, held
    end
    for _, scope in ipairs(found) do
      taken_of[scope] = (taken_of[scope] or 0) + #numbers
      local its = rooms[scope]
      if its then
        its.left = its.left - #numbers
        its.started = its.started + (starts and #numbers or 0)
      end
    end
  end

  local function write(lease)
    for i = 1, #permits, 200 do -- unpack has a limit
      redis.call('HSET', prefix .. 'permits:' .. lease, unpack(permits, i, math.min(i + 199, #permits)))
    end
    if #permits > 0 then
      redis.call('SADD', prefix .. 'holders', lease)
    end
    for scope, count in pairs(taken_of) do
      redis.call('HINCRBY', prefix .. 'running', scope, count)
      local its = rooms[scope]
      if its and its.interval > 0 and its.started > 0 then
        local arrival = math.max(its.arrival, clock()) + its.started * its.interval
        redis.call('ZADD', prefix .. 'not_before', arrival, scope)
      end
    end
    rooms, permits, taken_of = {}, {}, {}
  end

  -- In a group of which one job runs at a time, their order is kept.
  function self.is_strict(group)
    return group ~= '' and limit('group:' .. group) == 1
  end

  -- Whether a limit may keep its tasks from being taken many at a time.
  function self.holds_up(lane)
    local _, group, kind = parts(lane)
    for _, scope in ipairs(scopes(group, kind)) do
      local running, interval = limit(scope)
      if running > 0 or interval > 0 then
        return true
      end
    end
    return false
  end

  -- These tasks have left a lane without permits. It may have been the one that was woken, for its first task: another is.
  function self.leave(lane, tasks)
    local queue, group, kind = parts(lane)
    leave_lane(lane, queue, #tasks, ready)
    local found = {}
    for _, task in ipairs(tasks) do
      local its = kind == '' and kind_of(task) or kind
      for _, scope in ipairs(scopes(group, is_limited(its) and its or '')) do
        found[scope] = true
      end
    end
    for scope in pairs(found) do
      wake(scope)
    end
  end

  -- To the head of the lane, which waits with it until `due_ms`.
  function self.put_off(lane, task, due_ms)
    push_to_lane(lane, {task}, true, ready)
    local scope = redis.call('HGET', prefix .. 'blocked', lane)
    if scope then
      unblock(lane, scope, ready)
    end
    redis.call('ZREM', ring_of((parts(lane)), ready), lane)
    redis.call('ZREM', prefix .. 'later', lane)
    redis.call('ZADD', prefix .. 'behind', due_ms, lane)
    local _, group = parts(lane)
    wake('group:' .. group) -- another lane of the group may have waited behind this one
  end

  -- What waits behind a task that waits for its time is looked at anew: a person has done something to that job, perhaps.
  function self.rouse()
    for _, lane in ipairs(redis.call('ZRANGE', prefix .. 'behind', 0, -1)) do
      redis.call('ZREM', prefix .. 'behind', lane)
      enter(lane, true)
      ring(prefix .. 'bell', (parts(lane)))
    end
  end

  -- The first task of a lane of all types may be of a limited one. Of a strict group it keeps its place; else it goes to a
  -- lane of that type, so that the others of its group do not wait behind it. Returns the limited type of the first task, ''
  -- where there is none, and how many of the first tasks may be taken together.
  local function sort_types(lane, queue, group)
    for _ = 1, 100 do
      local head = redis.call('LRANGE', list(lane), 0, 0)[1]
      local kind = head and kind_of(head) or ''
      if not is_limited(kind) then
        return '', 1
      elseif self.is_strict(group) then
        return kind, 1
      end
      push_to_lane(lane_of(queue, group, kind), {head}, false, ready)
      redis.call('LPOP', list(lane))
      leave_lane(lane, queue, 1, ready)
    end
    return '', 0
  end

  -- Give the lanes of a queue their turns, the first one first, until they have given `wanted` tasks. accept(task): its number
  -- in the flight, or nil where there is room for no more; keep(): all that were accepted are in the flight. Returns how
  -- many were taken. Some calls a round and two for each lane: 10,000 lanes may have one task each.
  function self.take_turns(lease, queue, wanted, accept, keep)
    local key, taken, looked, is_full = ring_of(queue, ready), 0, 0, false
    local known = prefix .. 'limits'
    local has_limited_types = redis.call('HLEN', known) > redis.call('HEXISTS', known, 'v')
    while taken < wanted and looked < wanted + 500 and not is_full do
      local turn = redis.call('ZRANGE', key, 0, math.min(wanted - taken, 200) - 1)
      if #turn == 0 then
        break
      end
      local share = math.max(1, math.floor((wanted - taken) / redis.call('ZCARD', key)))
      local before, given, empty, limited = taken, {}, {}, {}
      for _, lane in ipairs(turn) do
        if taken >= wanted or is_full then
          break
        end
        looked = looked + 1
        local _, group, kind = parts(lane)
        local held = string.sub(lane, #queue + 2)
        local most = math.min(100, share, wanted - taken)
        if kind == '' and has_limited_types then
          kind, most = sort_types(lane, queue, group)
          held = held .. kind
        end
        local found = scopes(group, kind)
        local free, scope, from_ms = room_of(found)
        if most > 0 and free <= 0 then
          set_aside(lane, queue, found, scope, from_ms)
        elseif most > 0 then
          most = math.min(most, free)
          local tasks = redis.pcall('LRANGE', list(lane), 0, most) -- one more, to see whether there is
          if tasks.err or #tasks == 0 then -- not ours, or gone: it keeps no other lane from its turn
            empty[#empty + 1], tasks = lane, {}
          end
          local numbers = {}
          for i = 1, math.min(most, #tasks) do
            local number = accept(tasks[i], queue)
            is_full = not number
            if is_full then
              break
            end
            numbers[#numbers + 1] = number
          end
          if #numbers > 0 then
            permit(numbers, found, held, true)
            taken = taken + #numbers
            given[#given + 1] = {lane, #numbers, #tasks == #numbers}
            for _, each in ipairs(has_limits and found or {}) do
              limited[each] = true
            end
          end
        end
      end
      keep()
      if #given > 0 then
        redis.call('HINCRBY', prefix .. 'grouped', queue, before - taken)
      end
      local last, again = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2], {}
      for _, each in ipairs(given) do
        local lane, count, was_all = unpack(each)
        redis.call('LTRIM', list(lane), count, -1)
        if was_all then
          empty[#empty + 1] = lane
        else
          last = last + 1
          again[#again + 1] = last
          again[#again + 1] = lane
        end
      end
      if #again > 0 then
        redis.call('ZADD', key, unpack(again))
      end
      local gone = {}
      for _, lane in ipairs(empty) do
        if redis.call('TYPE', list(lane)).ok ~= 'list' then -- else sort_types has put a task there meanwhile
          gone[#gone + 1] = lane
        end
      end
      if #gone > 0 then
        redis.call('ZREM', key, unpack(gone))
        redis.call('SREM', prefix .. 'lanes', unpack(gone))
      end
      for scope in pairs(limited) do
        wake(scope)
      end
    end
    if redis.call('HGET', prefix .. 'grouped', queue) == '0' then
      redis.call('HDEL', prefix .. 'grouped', queue)
    end
    write(lease)
    if looked >= wanted + 500 then
      ring(prefix .. 'bell', queue) -- there may be more
    end
    return taken
  end

  -- Which of these tasks, claimed from a list, may run: of one queue, group and type. The others go to their lane, in their
  -- order. answer(number, may_run): 0 it is not to run, 1, or 2: it counts for the limit of its type.
  function self.admit(flight, lease, numbers, queue, group, kind, answer)
    kind = is_limited(kind) and kind or ''
    local lane = lane_of(queue, group, self.is_strict(group) and '' or kind)
    local found, held, waits, gone, moved = scopes(group, kind), #group .. ':' .. group .. kind, nil, {}, {}
    local tasks = redis.call('HMGET', flight, unpack(numbers))
    local known = redis.call('HMGET', prefix .. 'permits:' .. lease, unpack(numbers))
    for i, number in ipairs(numbers) do
      if not tasks[i] then
        answer(number, 0)
      elseif known[i] then
        local _, _, counted = parts('-:' .. known[i])
        answer(number, counted ~= '' and 2 or 1)
      elseif #found == 0 then
        answer(number, 1)
      else
        if waits == nil then
          waits = redis.call('LLEN', list(lane)) > 0
        end
        if not waits and room_of(found) > 0 then
          permit({number}, found, held, true)
          answer(number, kind ~= '' and 2 or 1)
        else
          waits = true
          gone[#gone + 1] = number
          moved[#moved + 1] = tasks[i]
          answer(number, 0)
        end
      end
    end
    write(lease)
    if #gone > 0 then
      push_to_lane(lane, moved, false, ready)
      redis.call('HDEL', flight, unpack(gone))
    end
  end

  -- A task that runs already counts from now on, whatever the limits say.
  function self.hold(lease, number, group, kind)
    local known = redis.call('HGET', prefix .. 'permits:' .. lease, number)
    local held = #group .. ':' .. group .. kind
    if known == held then
      return
    end
    if known then
      self.release(lease, {number})
    end
    permit({number}, scopes(group, kind), held, false)
    write(lease)
  end

  -- Of up to 1,000 tasks. Returns the limited type of the last one that had a permit, '' where there is none.
  function self.release(lease, numbers)
    local key, counts, kind = prefix .. 'permits:' .. lease, {}, ''
    for _, held in ipairs(redis.call('HMGET', key, unpack(numbers))) do
      if held then
        counts[held] = (counts[held] or 0) + 1
      end
    end
    redis.call('HDEL', key, unpack(numbers))
    if redis.call('EXISTS', key) == 0 then
      redis.call('SREM', prefix .. 'holders', lease)
    end
    for held, count in pairs(counts) do
      local _, group
      _, group, kind = parts('-:' .. held)
      for _, scope in ipairs(scopes(group, kind)) do
        if redis.call('HINCRBY', prefix .. 'running', scope, -count) <= 0 then
          redis.call('HDEL', prefix .. 'running', scope)
        end
        rooms[scope] = nil
        for _ = 1, count do
          if not wake(scope) then
            break
          end
        end
      end
    end
    return kind
  end

  -- Permits whose tasks are in no flight: all of a lease that is gone.
  function self.release_strays(lease)
    local is_there = {}
    for _, number in ipairs(redis.call('HKEYS', prefix .. 'flight:' .. lease)) do
      is_there[number] = true
    end
    for _, number in ipairs(redis.call('HKEYS', prefix .. 'permits:' .. lease)) do
      if not is_there[number] then
        self.release(lease, {number})
      end
    end
  end

  -- What waits for a time that has come has its turn. Returns in how many ms the next one is due, or -1.
  function self.wake_due()
    local now_ms, next_ms = clock() / 1000, math.huge
    for _, waiting in ipairs({'later', 'behind'}) do
      for _, lane in ipairs(redis.call('ZRANGEBYSCORE', prefix .. waiting, '-inf', now_ms, 'LIMIT', 0, 1000)) do
        redis.call('ZREM', prefix .. waiting, lane)
        enter(lane, true)
        ring(prefix .. 'bell', (parts(lane)))
      end
      local first = redis.call('ZRANGE', prefix .. waiting, 0, 0, 'WITHSCORES')
      next_ms = math.min(next_ms, first[2] and tonumber(first[2]) or math.huge)
    end
    return next_ms < math.huge and math.max(0, math.ceil(next_ms - now_ms)) or -1
  end

  -- No start of this scope before so many ms from now have passed.
  function self.pause(scope, pause_ms)
    local _, _, tolerance = limit(scope)
    redis.call('ZADD', prefix .. 'not_before', 'GT', clock() + pause_ms * 1000 + tolerance, scope)
    if string.sub(scope, 1, 5) == 'type:' then -- as long as it lasts, the type counts as limited
      redis.call('HSETNX', prefix .. 'limits', scope, '0 0 0')
    end
  end

  -- Times that are over mean nothing any more, and so do limits that stood for a pause alone.
  function self.forget_times()
    for _, scope in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'not_before', '-inf', clock(), 'LIMIT', 0, 1000)) do
      redis.call('ZREM', prefix .. 'not_before', scope)
      if redis.call('HGET', prefix .. 'limits', scope) == '0 0 0' then
        redis.call('HDEL', prefix .. 'limits', scope)
      end
    end
  end

  -- Limits have changed: what waits for a permit or a rate is looked at anew. A rate that is another one now begins anew.
  function self.wake_all(before, after)
    for _, scope in ipairs(redis.call('ZRANGE', prefix .. 'not_before', 0, -1)) do
      local default = string.sub(scope, 1, 6) == 'group:' and 'groups' or ''
      local was, is = before[scope] or before[default], after[scope] or after[default]
      if was and was ~= is and not string.find(was, ' 0 0$') then
        redis.call('ZREM', prefix .. 'not_before', scope)
      end
    end
    local blocked = redis.call('HGETALL', prefix .. 'blocked')
    for i = 1, #blocked, 2 do
      unblock(blocked[i], blocked[i + 1], ready)
      enter(blocked[i], false)
    end
    local later = redis.call('ZRANGE', prefix .. 'later', 0, -1)
    for _, lane in ipairs(later) do
      redis.call('ZREM', prefix .. 'later', lane)
      enter(lane, false)
    end
    local queues = redis.call('HKEYS', prefix .. 'grouped')
    for _, queue in ipairs(queues) do
      ring(prefix .. 'bell', queue)
    end
    for _, scope in ipairs(redis.call('ZRANGE', prefix .. 'not_before', 0, -1)) do
      if string.sub(scope, 1, 5) == 'type:' then
        redis.call('HSETNX', prefix .. 'limits', scope, '0 0 0')
      end
    end
  end

  return self
end
-- Of an in-flight hash: the ready list, and the lease.
local function owner_of(flight)
  return string.match(flight, '^{(.*)}:flight:([^:]*)$')
end
-- Release the permit of a task that leaves the flight, if it has one. Returns the type that it counted for, else ''.
local function release(ready, lease, number)
  if redis.call('HEXISTS', '{' .. ready .. '}:permits:' .. lease, number) == 1 then
    return lanes_in(ready).release(lease, {number})
  end
  return ''
end
-- How many tasks wait in the lanes of each queue.
local function in_lanes(ready)
  local flat, counts = redis.call('HGETALL', '{' .. ready .. '}:grouped'), {}
  for i = 1, #flat, 2 do
    counts[flat[i]] = tonumber(flat[i + 1])
  end
  return counts
end
