"""Steps that the server does as one: Lua, run by ``EVAL``.

Each is sent whole, so that nothing has to be loaded again after a restart.
"""

MAX_HASHED_BYTES = 1 << 20
"""Length of the longest value that has a version: longer ones would keep the server from others too long."""

STAT = f"""
local size = redis.call('STRLEN', KEYS[1])
local left = redis.call('PTTL', KEYS[1])
if left == -2 or size > {MAX_HASHED_BYTES} then return {{size, left}} end
return {{size, left, redis.sha1hex(redis.call('GET', KEYS[1]))}}
"""
"""Size, milliseconds left, and version; argument: key."""

PART = """
local size = redis.call('STRLEN', KEYS[1])
local left = redis.call('PTTL', KEYS[1])
local start, stop = tonumber(ARGV[1]), size
if ARGV[2] ~= '' then stop = math.min(size, tonumber(ARGV[2])) end
if left == -2 or stop - start > tonumber(ARGV[3]) then return {size, left} end
if stop <= start then return {size, left, ''} end
return {size, left, redis.call('GETRANGE', KEYS[1], start, stop - 1)}
"""
"""Size, milliseconds left, and a part unless it is long; arguments: key; start, stop or '', the longest part."""

MEASURE = """
local found = {}
for at, key in ipairs(KEYS) do
  local size = redis.pcall('STRLEN', key)
  local left = redis.call('PTTL', key)
  if type(size) == 'table' then
    if not string.find(size.err, 'WRONGTYPE', 1, true) then return size end
    size = -1
  elseif left == -2 then size = -1 end
  found[at] = string.format('%d %d', size, left)
end
return table.concat(found, ' ')
"""
"""Size and milliseconds left of each key, as one text; a size of -1 stands for what is gone, or no string."""

TAKE = """
local value = redis.call('GET', KEYS[1])
redis.call('DEL', KEYS[1])
return value
"""
"""What GETDEL does, for servers that do not have it; argument: key."""

_IS_VERSION = f"""
local function refusal(key, version)
  if redis.call('EXISTS', key) == 0 then return 'changed' end
  if redis.call('STRLEN', key) > {MAX_HASHED_BYTES} then return 'long' end
  if redis.sha1hex(redis.call('GET', key)) ~= version then return 'changed' end
end
"""

SWAP = f"""{_IS_VERSION}
local refused = refusal(KEYS[1], ARGV[1])
if refused then return refused end
if ARGV[3] == '' then redis.call('SET', KEYS[1], ARGV[2]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 'done'
"""
"""Write over one version; arguments: key; version, value, milliseconds to live or ''."""

PUBLISH = f"""{_IS_VERSION}
if redis.call('STRLEN', KEYS[1]) ~= tonumber(ARGV[1]) then return 'lost' end
if ARGV[2] == '1' and redis.call('EXISTS', KEYS[2]) == 1 then return 'taken' end
if ARGV[3] ~= '' then
  local refused = refusal(KEYS[2], ARGV[3])
  if refused then return refused end
end
if ARGV[4] == '' then redis.call('PERSIST', KEYS[1]) else redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
redis.call('RENAME', KEYS[1], KEYS[2])
return 'done'
"""
"""Put a temporary key in its place; arguments: both keys; size, '1' to create, version or '', time to live or ''."""
