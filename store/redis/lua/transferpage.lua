-- Sessions or their values for a move, in the order of the ids. ARGV: 's' or 'd', the last id, how many, and for 'd' '1'
-- if the last id itself is wanted too. Or 'i', and ids of sessions: their records.
-- Answers for 's' and 'i' ids with their records; for 'd' ids, each with the number of its values, their names and values.
local root = string.sub(KEYS[1], 1, -3)
local age = redis.call('HGET', root .. 'move', 'age')
if not age then age = redis.call('HGET', KEYS[1], 'e') end
if not age or age == '' then return {} end
local b, out = root .. age .. ':', {}
local low = '-'
if ARGV[1] ~= 'i' and ARGV[2] ~= '' then low = (ARGV[4] == '1' and '[' or '(') .. ARGV[2] end
if ARGV[1] == 'i' then
  for i = 2, #ARGV do
    out[#out + 1] = ARGV[i]
    out[#out + 1] = redis.call('GET', b .. 's:' .. ARGV[i])
  end
elseif ARGV[1] == 's' then
  local n, most = 0, tonumber(ARGV[3])
  local x = redis.call('ZRANGEBYLEX', b .. 'n', low, '+', 'LIMIT', 0, most)
  local y = redis.call('ZRANGEBYLEX', b .. 'a', low, '+', 'LIMIT', 0, most)
  local i, j = 1, 1
  while n < most and (x[i] or y[j]) do
    local id
    if not y[j] or x[i] and x[i] < y[j] then id = x[i]; i = i + 1 else id = y[j]; j = j + 1 end
    out[#out + 1] = id
    out[#out + 1] = redis.call('GET', b .. 's:' .. id)
    n = n + 1
  end
else
  for _, id in ipairs(redis.call('ZRANGEBYLEX', b .. 'v', low, '+', 'LIMIT', 0, ARGV[3])) do
    local all = redis.call('HGETALL', b .. 'd:' .. id)
    out[#out + 1] = id
    out[#out + 1] = tostring(#all / 2)
    for k = 1, #all do out[#out + 1] = all[k] end
  end
end
return out
