-- Where the tasks of the queues of an installation are. The keys are made from the ready list's, in its slot: a script
-- for tasks of several queues cannot know them before. A task says its queue itself; only one that has the word in it is
-- decoded, because its payload may have it as well.
local function queue_of(task)
  if string.find(task, '"queue"', 1, true) then
    local ok, value = pcall(cjson.decode, task)
    local name = ok and type(value) == 'table' and value.queue
    if type(name) == 'string' and #name <= 64 and string.match(name, '^[%w_-]+$') then
      return name
    end
  end
  return 'default'
end
local function list_of(queue, ready)
  return queue == 'default' and ready or '{' .. ready .. '}:q:' .. queue
end
local function scheduled_of(queue, ready)
  return queue == 'default' and '{' .. ready .. '}:scheduled' or '{' .. ready .. '}:q:' .. queue .. ':scheduled'
end
-- Wake a worker that waits for other queues than the default one, or for groups. A few are enough: each looks into all of them. Without
-- a bell, because another program has put something else there, it finds the task a quarter of a second later.
local function ring(bell, queue)
  local length = redis.pcall('LLEN', bell)
  if type(length) == 'number' and length < 16 then
    redis.call('RPUSH', bell, queue)
  end
end
-- Note the name of a queue. What else may stand there harms no task: the check of this Redis names it.
local function note(queues, queue)
  redis.pcall('SADD', queues, queue)
end
-- `+ms` after now, or ms since 1970.
local function due_ms(text, now_ms)
  local after = string.match(text, '^%+(.*)$')
  return after and now_ms + tonumber(after) or tonumber(text)
end
