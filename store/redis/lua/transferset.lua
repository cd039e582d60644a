-- Moves the mark of a move. ARGV: the phase, log and run that must be; the phase, log, peer, run and time to be; and
-- for opening what was filled: the number and the tag of the place; the number also is what the place must have to be
-- closed or, where an opening was interrupted or is taken back, to be filled again; and the name of the age to fill.
-- Answers 'ok', 'taken' (another mark), 'full' (there are records of something else) or 'behind' (the place is not at
-- the number).
-- A closed place is a text: every script of a server begins by reading the place as a hash, and fails.
local place, root = KEYS[1], string.sub(KEYS[1], 1, -3)
local mark, aside = root .. 'move', root .. 'aside'
local is = redis.call('HMGET', mark, 'phase', 'log', 'run', 'age')
for i = 1, 3 do
  if (is[i] or '') ~= ARGV[i] then return 'taken' end
end
local from, to = ARGV[1], ARGV[4]
local age = is[4] or ''
if from == '' and to == 'moved' then
  local at = redis.call('HMGET', place, 'e', 's', 'l')
  if at[1] then
    if at[2] ~= ARGV[9] or at[3] ~= ARGV[5] then return 'behind' end
    age = at[1]
    redis.call('RENAME', place, aside)
  end
  redis.call('SET', place, 'handstamp: the sessions were moved')
elseif from == '' and to == 'filling' then
  local at = redis.call('HMGET', place, 'e', 'l', 's')
  if at[1] and at[2] ~= ARGV[5] then return 'full' end
  if at[1] and at[3] ~= ARGV[9] then return 'behind' end
  age = at[1] or ARGV[11]
  redis.call('SET', place, 'handstamp: a move fills this')
elseif from == 'moved' and to == '' then
  redis.call('DEL', place)
  if redis.call('EXISTS', aside) == 1 then redis.call('RENAME', aside, place) end
elseif from == 'filling' and to == '' then
  redis.call('DEL', place)
  redis.call('HSET', place, 'e', age, 's', ARGV[9], 't', ARGV[10], 'l', ARGV[2])
end
redis.call('DEL', mark)
if to ~= '' then
  redis.call('HSET', mark, 'phase', to, 'log', ARGV[5], 'peer', ARGV[6], 'run', ARGV[7], 'at', ARGV[8], 'age', age)
end
return 'ok'
