-- Keeps a copy in the cache, unless what is there, or what was noted of its owner, is newer.
-- ARGV: key, owner, number, version, for how many milliseconds, the copy.
local root = string.sub(KEYS[1], 1, -3)
local owner, number, version = root .. 'o:' .. ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local is = redis.call('HMGET', owner, 'n', 'v', 'k')
if is[1] then
  local n = tonumber(is[1])
  if n > number or n == number and tonumber(is[2]) > version then return 0 end
end
if is[3] and is[3] ~= ARGV[1] then redis.call('DEL', root .. 'c:' .. is[3]) end
redis.call('SET', root .. 'c:' .. ARGV[1], ARGV[6], 'PX', ARGV[5])
redis.call('HSET', owner, 'n', ARGV[3], 'v', ARGV[4], 'k', ARGV[1])
redis.call('PEXPIRE', owner, ARGV[5])
return 1
