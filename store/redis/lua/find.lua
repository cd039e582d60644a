-- A record, a value of it if a name is given, and the place of all records.
-- ARGV: 'k' and a hash, or 's' and an id; then perhaps the name of a value.
local at = redis.call('HMGET', KEYS[1], 'e', 's', 't', 'l')
if not at[1] then return {} end
local b = string.sub(KEYS[1], 1, -3) .. at[1] .. ':'
local sid = ARGV[2]
if ARGV[1] == 'k' then sid = redis.call('GET', b .. 'k:' .. sid) end
local rec = sid and redis.call('GET', b .. 's:' .. sid)
if not rec then return at end
at[5] = rec
if ARGV[3] then at[6] = redis.call('HGET', b .. 'd:' .. sid, ARGV[3]) end
return at
