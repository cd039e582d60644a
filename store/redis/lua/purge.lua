-- Deletes what is left of an age that is over, a part each time. ARGV: that age, and how many sessions.
-- Answers how many were left.
if redis.call('HGET', KEYS[1], 'e') == ARGV[1] then return 0 end
local b = string.sub(KEYS[1], 1, -3) .. ARGV[1] .. ':'
local ids = redis.call('ZRANGE', b .. 'x', 0, ARGV[2] - 1)
for _, sid in ipairs(ids) do
  redis.call('UNLINK', b .. 's:' .. sid, b .. 'd:' .. sid)
  redis.call('ZREM', b .. 'x', sid)
end
if #ids == 0 then redis.call('UNLINK', b .. 'n', b .. 'a', b .. 'v', b .. 'ahead') end
return #ids
