-- Writes or deletes one value of a session, if its record and the place are as they were when the caller judged them.
-- ARGV: age, place, id, mark, name, version that is there ('0' for none), version to be ('0' deletes), data, limit.
-- Answers 'ok', 'moved' (judge again), 'conflict' or 'large'.
local at = redis.call('HMGET', KEYS[1], 'e', 's')
if at[1] ~= ARGV[1] or at[2] ~= ARGV[2] then return 'moved' end
local b = string.sub(KEYS[1], 1, -3) .. at[1] .. ':'
local sid, name = ARGV[3], ARGV[5]
if redis.call('GETRANGE', b .. 's:' .. sid, 0, 7) ~= ARGV[4] then return 'moved' end
local key = b .. 'd:' .. sid
local was = redis.call('HGET', key, name)
local version = '0'
if was then version = string.sub(was, 1, string.find(was, ':', 1, true) - 1) end
if version ~= ARGV[6] then return 'conflict' end
if ARGV[7] == '0' then
  redis.call('HDEL', key, name)
  if redis.call('EXISTS', key) == 0 then redis.call('ZREM', b .. 'v', sid) end
  return 'ok'
end
local used, all = #name + #ARGV[8], redis.call('HGETALL', key)
for i = 1, #all, 2 do
  if all[i] ~= name then used = used + #all[i] + #all[i + 1] - string.find(all[i + 1], ':', 1, true) end
end
if used > tonumber(ARGV[9]) then return 'large' end
redis.call('HSET', key, name, ARGV[7] .. ':' .. ARGV[8])
redis.call('PEXPIRE', key, redis.call('PTTL', b .. 's:' .. sid))
redis.call('ZADD', b .. 'v', 0, sid)
return 'ok'
