-- Writes what a move brings. ARGV: the log and run of the mark; then operations:
--   P id record ttl oldkey newkey user set score olduser oldset   puts a record
--   D id key user set                                             deletes one, with its values
--   V id name value                                               puts a value, if its session is there
--   X id name                                                     deletes one
-- Answers 'ok', or 'taken' if the mark is another one.
local root = string.sub(KEYS[1], 1, -3)
local is = redis.call('HMGET', root .. 'move', 'phase', 'log', 'run', 'age')
if is[1] ~= 'filling' or is[2] ~= ARGV[1] or is[3] ~= ARGV[2] then return 'taken' end
local b, i = root .. is[4] .. ':', 3
while i <= #ARGV do
  local op, id = ARGV[i], ARGV[i + 1]
  if op == 'P' then
    local ttl, old, new, user = ARGV[i + 3], ARGV[i + 4], ARGV[i + 5], ARGV[i + 6]
    if old ~= '' and old ~= new and redis.call('GET', b .. 'k:' .. old) == id then redis.call('DEL', b .. 'k:' .. old) end
    if ARGV[i + 9] ~= '' and ARGV[i + 9] ~= user then redis.call('ZREM', b .. 'u:' .. ARGV[i + 9], id) end
    if ARGV[i + 10] ~= '' and ARGV[i + 10] ~= ARGV[i + 7] then redis.call('ZREM', b .. ARGV[i + 10], id) end
    redis.call('SET', b .. 's:' .. id, ARGV[i + 2], 'PX', ttl)
    if redis.call('EXISTS', b .. 'd:' .. id) == 1 then redis.call('PEXPIRE', b .. 'd:' .. id, ttl) end
    if new ~= '' then redis.call('SET', b .. 'k:' .. new, id, 'PX', ttl) end
    redis.call('ZADD', b .. ARGV[i + 7], 0, id)
    redis.call('ZADD', b .. 'u:' .. user, 0, id)
    if redis.call('PTTL', b .. 'u:' .. user) < tonumber(ttl) then redis.call('PEXPIRE', b .. 'u:' .. user, ttl) end
    redis.call('ZADD', b .. 'x', ARGV[i + 8], id)
    i = i + 11
  elseif op == 'D' then
    redis.call('UNLINK', b .. 's:' .. id, b .. 'd:' .. id)
    if ARGV[i + 2] ~= '' and redis.call('GET', b .. 'k:' .. ARGV[i + 2]) == id then redis.call('DEL', b .. 'k:' .. ARGV[i + 2]) end
    redis.call('ZREM', b .. 'u:' .. ARGV[i + 3], id)
    redis.call('ZREM', b .. ARGV[i + 4], id)
    redis.call('ZREM', b .. 'x', id)
    redis.call('ZREM', b .. 'v', id)
    i = i + 5
  elseif op == 'V' then
    local ttl = redis.call('PTTL', b .. 's:' .. id)
    if ttl > 0 then
      redis.call('HSET', b .. 'd:' .. id, ARGV[i + 2], ARGV[i + 3])
      redis.call('PEXPIRE', b .. 'd:' .. id, ttl)
      redis.call('ZADD', b .. 'v', 0, id)
    end
    i = i + 4
  else
    redis.call('HDEL', b .. 'd:' .. id, ARGV[i + 2])
    if redis.call('EXISTS', b .. 'd:' .. id) == 0 then redis.call('ZREM', b .. 'v', id) end
    i = i + 3
  end
end
return 'ok'
