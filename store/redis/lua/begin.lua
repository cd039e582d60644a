-- Begins an age: all records of the one before are gone with it. ARGV: the age that the caller read ('' for none), the new
-- one, and the number, tag and log to begin with. Answers 1 if it did, 0 if somebody else was faster.
local age = redis.call('HGET', KEYS[1], 'e') or ''
if age ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'e', ARGV[2], 's', ARGV[3], 't', ARGV[4], 'l', ARGV[5])
return 1
