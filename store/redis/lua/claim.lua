-- Claims a session for a unit of work, so that no refresh and no other unit changes it until the unit is through.
-- ARGV: who claims, for how many milliseconds, the id, and the hash that the record is to be found by or ''.
-- Answers 'busy', 'taken' or 'ok', the place, and the record if there is one.
local at = redis.call('HMGET', KEYS[1], 'e', 's', 't', 'l')
if not at[1] then return {'blank'} end
local b = string.sub(KEYS[1], 1, -3) .. at[1] .. ':'
local sid, status = ARGV[3], 'ok'
local claim = b .. 'c:' .. sid
local by = redis.call('GET', claim)
if by and by ~= ARGV[1] then
  status = 'busy'
else
  if ARGV[4] ~= '' then
    local holder = redis.call('GET', b .. 'k:' .. ARGV[4])
    if holder and holder ~= sid and redis.call('EXISTS', b .. 's:' .. holder) == 1 then status = 'taken' end
  end
  if status == 'ok' then redis.call('SET', claim, ARGV[1], 'PX', ARGV[2]) end
end
return {status, at[1], at[2], at[3], at[4], redis.call('GET', b .. 's:' .. sid)}
