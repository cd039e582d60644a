-- The place of all records, the server's time in microseconds, and then ids with their records.
-- ARGV[1] is where the ids come from:
--   'ids'               the rest of ARGV
--   'user' user after n     newest first, those before after
--   'mode' n|a after n      the same, of all with a user (n) or all without (a)
--   'over' max n        those that can be swept before max, first first
--   'data' after n      those that have values, ascending
local at = redis.call('HMGET', KEYS[1], 'e', 's', 't', 'l')
if not at[1] then return {} end
local b = string.sub(KEYS[1], 1, -3) .. at[1] .. ':'
local now = redis.call('TIME')
at[5] = now[1] .. string.format('%06d', now[2])
local from, ids = ARGV[1], {}
local function below(id) if id == '' then return '+' end return '(' .. id end
if from == 'ids' then
  for i = 2, #ARGV do ids[#ids + 1] = ARGV[i] end
elseif from == 'user' then
  ids = redis.call('ZREVRANGEBYLEX', b .. 'u:' .. ARGV[2], below(ARGV[3]), '-', 'LIMIT', 0, ARGV[4])
elseif from == 'mode' then
  ids = redis.call('ZREVRANGEBYLEX', b .. ARGV[2], below(ARGV[3]), '-', 'LIMIT', 0, ARGV[4])
elseif from == 'over' then
  ids = redis.call('ZRANGEBYSCORE', b .. 'x', '-inf', '(' .. ARGV[2], 'LIMIT', 0, ARGV[3])
elseif from == 'data' then
  local low = '-'
  if ARGV[2] ~= '' then low = '(' .. ARGV[2] end
  ids = redis.call('ZRANGEBYLEX', b .. 'v', low, '+', 'LIMIT', 0, ARGV[3])
end
for i = 1, #ids do
  at[#at + 1] = ids[i]
  at[#at + 1] = redis.call('GET', b .. 's:' .. ids[i])
end
return at
