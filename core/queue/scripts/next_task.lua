-- The task that is claimed next, and what time it is.
-- KEYS[1] front list    KEYS[2] ready list    ARGV[1] at most so many bytes
-- Returns {task, or '' where none is ready or it is longer, ms since 1970}. O(1).
local front, ready = redis.call('LRANGE', KEYS[1], 0, 0), redis.call('LRANGE', KEYS[2], 0, 0)
local task = front[1] or ready[1] or ''
local time = redis.call('TIME')
return {#task <= tonumber(ARGV[1]) and task or '', string.format('%d%03d', time[1], math.floor(time[2] / 1000))}
