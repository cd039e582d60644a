-- The one script that changes records. It does all of its operations or none.
-- ARGV[1] the age that the caller read in; ARGV[2] the number that the place must have, or ''; ARGV[3] who claimed, or '';
-- ARGV[4] 'guard' if somebody else's claim is in the way, 'each' if a record that has moved on is passed over, or '';
-- then operations:
--   P id mark record ttl oldkey newkey user set score     puts a record over the one of that mark ('' for none)
--   D id mark key user set                                deletes one, with its values
--   R id mark                                             requires one
--   C from to limit n name…                               carries values over
--   E log n (seq tag)…                                    events whose effects are written; log may be ''
-- Answers 'ok', 'age' (another age), 'place', 'busy' or 'moved', and the place; with 'each' also the ids passed over.
local at = redis.call('HMGET', KEYS[1], 'e', 's', 't', 'l')
local function answer(status) return {status, at[1], at[2], at[3], at[4]} end
if not at[1] then return {'blank'} end
if at[1] ~= ARGV[1] then return answer('age') end
if ARGV[2] ~= '' and at[2] ~= ARGV[2] then return answer('place') end
local root = string.sub(KEYS[1], 1, -3)
local b = root .. at[1] .. ':'
local size = {P = 10, D = 6, R = 3}
local function length(i)
  local op = ARGV[i]
  if op == 'C' then return 5 + ARGV[i + 4] end
  if op == 'E' then return 3 + 2 * ARGV[i + 2] end
  return size[op]
end

local passed, i = {}, 5
while i <= #ARGV do
  local op = ARGV[i]
  if size[op] then
    local sid = ARGV[i + 1]
    if ARGV[4] == 'guard' then
      local by = redis.call('GET', b .. 'c:' .. sid)
      if by and by ~= ARGV[3] then return answer('busy') end
    end
    if redis.call('GETRANGE', b .. 's:' .. sid, 0, 7) ~= ARGV[i + 2] then
      if ARGV[4] ~= 'each' then return answer('moved') end
      passed[sid] = true
    end
  end
  i = i + length(i)
end

local function keep(key, ttl)
  local left = redis.call('PTTL', key)
  if left < tonumber(ttl) then redis.call('PEXPIRE', key, ttl) end
end

local function put(i)
  local sid, mark, ttl = ARGV[i + 1], ARGV[i + 2], ARGV[i + 4]
  local old, new, user, set = ARGV[i + 5], ARGV[i + 6], ARGV[i + 7], ARGV[i + 8]
  local key = b .. 's:' .. sid
  if mark == '' then
    redis.call('SET', key, ARGV[i + 3], 'PX', ttl)
    redis.call('ZADD', b .. set, 0, sid)
    redis.call('ZADD', b .. 'u:' .. user, 0, sid)
    keep(b .. 'u:' .. user, ttl)
  else
    redis.call('SET', key, ARGV[i + 3], 'KEEPTTL')
    ttl = redis.call('PTTL', key)
  end
  if old ~= '' and old ~= new and redis.call('GET', b .. 'k:' .. old) == sid then redis.call('DEL', b .. 'k:' .. old) end
  if new ~= '' and (old ~= new or mark == '') then redis.call('SET', b .. 'k:' .. new, sid, 'PX', ttl) end
  redis.call('ZADD', b .. 'x', ARGV[i + 9], sid)
  if ARGV[3] ~= '' and redis.call('GET', b .. 'c:' .. sid) == ARGV[3] then redis.call('DEL', b .. 'c:' .. sid) end
end

local function delete(i)
  local sid, key = ARGV[i + 1], ARGV[i + 3]
  redis.call('UNLINK', b .. 's:' .. sid, b .. 'd:' .. sid)
  if key ~= '' and redis.call('GET', b .. 'k:' .. key) == sid then redis.call('DEL', b .. 'k:' .. key) end
  redis.call('ZREM', b .. 'u:' .. ARGV[i + 4], sid)
  redis.call('ZREM', b .. ARGV[i + 5], sid)
  redis.call('ZREM', b .. 'x', sid)
  redis.call('ZREM', b .. 'v', sid)
end

local function data(value) return #value - string.find(value, ':', 1, true) end

local function carry(i)
  local from, to, limit = b .. 'd:' .. ARGV[i + 1], b .. 'd:' .. ARGV[i + 2], tonumber(ARGV[i + 3])
  local ttl = redis.call('PTTL', b .. 's:' .. ARGV[i + 2])
  if ttl <= 0 then return end
  local used, all = 0, redis.call('HGETALL', to)
  for j = 1, #all, 2 do used = used + #all[j] + data(all[j + 1]) end
  for j = 1, ARGV[i + 4] do
    local name = ARGV[i + 4 + j]
    local value = redis.call('HGET', from, name)
    if value and used + #name + data(value) <= limit and redis.call('HSETNX', to, name, value) == 1 then
      used = used + #name + data(value)
      redis.call('ZADD', b .. 'v', 0, ARGV[i + 2])
    end
  end
  if redis.call('EXISTS', to) == 1 then redis.call('PEXPIRE', to, ttl) end
end

local function number(n) return string.format('%.0f', n) end

-- An event that comes before the one before it waits in 'ahead', so that the place never passes what was not written.
local function events(i)
  if ARGV[i + 1] ~= '' and ARGV[i + 1] ~= at[4] then return end
  local seq, tag, ahead, new = tonumber(at[2]), at[3], b .. 'ahead', false
  for j = i + 3, i + 2 + 2 * ARGV[i + 2], 2 do
    local n = tonumber(ARGV[j])
    new = new or n > seq
    if n == seq + 1 then
      seq, tag = n, ARGV[j + 1]
    elseif n > seq then
      redis.call('ZADD', ahead, ARGV[j], ARGV[j] .. ':' .. ARGV[j + 1])
    end
  end
  while true do
    local next = redis.call('ZRANGEBYSCORE', ahead, number(seq + 1), number(seq + 1), 'LIMIT', 0, 1)
    if not next[1] then break end
    seq, tag = seq + 1, string.sub(next[1], string.find(next[1], ':', 1, true) + 1)
  end
  if seq > tonumber(at[2]) then
    redis.call('ZREMRANGEBYSCORE', ahead, '-inf', number(seq))
    at[2], at[3] = number(seq), tag
    redis.call('HSET', KEYS[1], 's', at[2], 't', tag)
  end
  if new then redis.pcall('PUBLISH', root .. 'wake', '') end
end

i = 5
while i <= #ARGV do
  local op = ARGV[i]
  if not (size[op] and passed[ARGV[i + 1]]) then
    if op == 'P' then put(i) elseif op == 'D' then delete(i) elseif op == 'C' then carry(i) elseif op == 'E' then events(i) end
  end
  i = i + length(i)
end
local out = answer('ok')
for sid in pairs(passed) do out[#out + 1] = sid end
return out
