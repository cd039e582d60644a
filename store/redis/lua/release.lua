-- Gives claims back. ARGV: who claimed, and the ids.
local e = redis.call('HGET', KEYS[1], 'e')
if not e then return 0 end
local b = string.sub(KEYS[1], 1, -3) .. e .. ':'
for i = 2, #ARGV do
  local claim = b .. 'c:' .. ARGV[i]
  if redis.call('GET', claim) == ARGV[1] then redis.call('DEL', claim) end
end
return 1
