-- Takes all records over into a log that goes on where theirs ends. ARGV: the age and the number that the records must
-- have, and the number, tag and log that follow.
local at = redis.call('HMGET', KEYS[1], 'e', 's')
if at[1] ~= ARGV[1] or at[2] ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 's', ARGV[3], 't', ARGV[4], 'l', ARGV[5])
redis.call('DEL', string.sub(KEYS[1], 1, -3) .. at[1] .. ':ahead')
return 1
