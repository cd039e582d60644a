-- Notes that something happened to owners of copies: older copies go, older ones that come late are not kept, and whoever
-- listens is woken. ARGV: number, for how many milliseconds it is remembered, owners.
local root = string.sub(KEYS[1], 1, -3)
local number = tonumber(ARGV[1])
for i = 3, #ARGV do
  local owner = root .. 'o:' .. ARGV[i]
  local is = redis.call('HMGET', owner, 'n', 'k')
  if not is[1] or tonumber(is[1]) < number then
    if is[2] then redis.call('DEL', root .. 'c:' .. is[2]) end
    redis.call('DEL', owner)
    redis.call('HSET', owner, 'n', ARGV[1], 'v', '0')
    redis.call('PEXPIRE', owner, ARGV[2])
  end
end
redis.pcall('PUBLISH', root .. 'wake', '')
return 1
