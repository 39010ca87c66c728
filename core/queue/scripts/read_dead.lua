-- Read dead letters in their order. Changes nothing.
-- KEYS[1] dead letters
-- ARGV[1] place of the first one, counted from 0    ARGV[2] which is at place 0: `newest` or `oldest`
-- ARGV[3] at most so many (>= 1)    ARGV[4] at most so many bytes, one entry always
-- ARGV[5] id of the one that was read before, '' for none    ARGV[6..] ids: of what is read only these are answered
-- Returns {how many there are, place of the next one (-1: there is none), entry, entry, ...}.
-- An id is the beginning of the SHA-1 of the entry (core/dead_letter.py). Between two reads places change: new entries
-- come, and any may go. So the one that was read before is looked for, from where it was, up to 500 places away and as
-- many bytes as ARGV[4]; where it is gone itself, the place counts. O(n) in what is read.
local place, count_max, bytes_max = tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4])
local function entry_at(at)
  local index = ARGV[2] == 'oldest' and at or -1 - at
  return at >= 0 and redis.call('LRANGE', KEYS[1], index, index)[1] -- one by one: each may have a MiB
end
local function id_of(entry)
  return string.sub(redis.sha1hex(entry), 1, 16)
end

local function place_of(id, was)
  local bytes = 0
  for distance = 0, 500 do
    for _, at in ipairs({was + distance, was - distance}) do
      local entry = entry_at(at)
      if entry then
        if id_of(entry) == id then
          return at
        end
        bytes = bytes + #entry
      end
    end
    if bytes > bytes_max then
      return was
    end
  end
  return was
end
if ARGV[5] ~= '' then
  place = place_of(ARGV[5], place - 1) + 1
end

local wanted = {}
for i = 6, #ARGV do
  wanted[ARGV[i]] = true
end
local answer = {redis.call('LLEN', KEYS[1]), -1}
local first, bytes = place, 0
while place < first + count_max do
  local entry = entry_at(place)
  if not entry then
    return answer
  end
  bytes = bytes + #entry
  if bytes > bytes_max and place > first then
    break
  end
  if #ARGV < 6 or wanted[id_of(entry)] then
    answer[#answer + 1] = entry
  end
  place = place + 1
end
if place < answer[1] then
  answer[2] = place
end
return answer
