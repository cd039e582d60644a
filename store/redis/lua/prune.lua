-- Drops ids without a record from an index. ARGV: age, 'u' and a user or 'n', 'a', 'x', 'v' and '', and the ids.
if redis.call('HGET', KEYS[1], 'e') ~= ARGV[1] then return 0 end
local b = string.sub(KEYS[1], 1, -3) .. ARGV[1] .. ':'
local index = b .. ARGV[2]
if ARGV[2] == 'u' then index = index .. ':' .. ARGV[3] end
local n = 0
for i = 4, #ARGV do
  if redis.call('EXISTS', b .. 's:' .. ARGV[i]) == 0 then n = n + redis.call('ZREM', index, ARGV[i]) end
end
return n
