-- Deletes values of a session that does not stand, at most n. ARGV: age, place, id, mark, n. Answers how many, or -1 if the
-- record or the place has moved on.
local at = redis.call('HMGET', KEYS[1], 'e', 's')
if at[1] ~= ARGV[1] or at[2] ~= ARGV[2] then return -1 end
local b = string.sub(KEYS[1], 1, -3) .. at[1] .. ':'
if redis.call('GETRANGE', b .. 's:' .. ARGV[3], 0, 7) ~= ARGV[4] then return -1 end
local key, n = b .. 'd:' .. ARGV[3], 0
for _, name in ipairs(redis.call('HKEYS', key)) do
  if n >= tonumber(ARGV[5]) then break end
  n = n + redis.call('HDEL', key, name)
end
if redis.call('EXISTS', key) == 0 then redis.call('ZREM', b .. 'v', ARGV[3]) end
return n
