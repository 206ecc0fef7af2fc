"""What Redis itself does for a store: Lua scripts, each of which Redis runs as one step.

Keys, all with one hash tag so that a cluster keeps them together:

- ``PREFIX s:KEY``: a session, a hash: its texts under ``v:NAME``, and ``c``, ``a``, ``e``, ``b``: when it was
  created, last accessed, expires (as the caller wrote them), and its bytes;
- ``PREFIX accessed`` and ``PREFIX expires``: sorted sets of session keys by those times;
- ``PREFIX sizes``: a hash of each session's bytes, and of all together under the empty name. Both are in one
  value, and every script that changes one changes the other, so they cannot drift apart.

Redis may drop a session by itself (its time to live has passed, its memory is full, someone deletes it): then its
entries in the other three stay until ``SWEEP`` or ``MEND`` comes by.
"""

from __future__ import annotations

from hardhttp.remote.script import Script

__all__ = ["COUNT", "DELETE", "EVICT", "LOAD", "MEND", "RENAME", "SAVE", "SWEEP", "TOUCH"]

_COMMON = """
local accessed, expires, sizes, prefix = KEYS[1], KEYS[2], KEYS[3], ARGV[1]

local function weigh(key, size)
    local before = tonumber(redis.call('HGET', sizes, key) or 0)
    redis.call('HSET', sizes, key, size)
    redis.call('HINCRBY', sizes, '', size - before)
end

local function forget(key)
    weigh(key, 0)
    redis.call('HDEL', sizes, key)
    redis.call('ZREM', accessed, key)
    redis.call('ZREM', expires, key)
    return redis.call('DEL', prefix .. key)
end

local function alive(key, now)
    local ends = redis.call('HGET', prefix .. key, 'e')
    return ends and tonumber(ends) > tonumber(now)
end

local function note(key, access, ends, ttl)
    redis.call('HSET', prefix .. key, 'a', access, 'e', ends)
    redis.call('PEXPIRE', prefix .. key, ttl)
    redis.call('ZADD', accessed, access, key)
    redis.call('ZADD', expires, ends, key)
end

local function evict(saved, most, most_bytes, step)
    local given_up = 0
    for _ = 1, step do
        local total = tonumber(redis.call('HGET', sizes, '') or 0)
        if redis.call('ZCARD', accessed) <= most and total <= most_bytes then
            return given_up, 0
        end
        local oldest = redis.call('ZRANGE', accessed, 0, 1)
        local key = oldest[1]
        if key == saved and oldest[2] then
            key = oldest[2]
        end
        if not key then
            return given_up, 0
        end
        given_up = given_up + forget(key)
    end
    return given_up, 1
end
"""


def _script(body: str) -> Script:
    return Script.of(_COMMON + body)


# key, now -> "created accessed expires", a newline, and the texts as packing.unpack takes them
LOAD = _script("""
local key = ARGV[2]
if not alive(key, ARGV[3]) then
    return false
end
local fields, times, lengths, pieces = redis.call('HGETALL', prefix .. key), {}, {}, {}
for i = 1, #fields, 2 do
    local name, text = fields[i], fields[i + 1]
    if string.sub(name, 1, 2) == 'v:' then
        name = string.sub(name, 3)
        lengths[#lengths + 1] = #name
        lengths[#lengths + 1] = #text
        pieces[#pieces + 1] = name
        pieces[#pieces + 1] = text
    else
        times[name] = text
    end
end
return times.c .. ' ' .. times.a .. ' ' .. times.e .. '\\n' .. table.concat(lengths, ' ') .. '\\n'
    .. table.concat(pieces)
""")

# key, created, accessed, expires, ttl in ms, create, the most bytes of one, the most sessions, the most bytes of all,
# steps, how many texts are set, NAME TEXT for each, then each NAME that is removed
# -> 1 or 0, how many were given up, 1 when more must be; or -1, its bytes, the most
SAVE = _script("""
local key, access = ARGV[2], ARGV[4]
local hash, there = prefix .. key, alive(key, access)
if not there and ARGV[7] == '0' then
    return {0, 0, 0}
end

local function held(name)
    if not there or redis.call('HEXISTS', hash, 'v:' .. name) == 0 then
        return 0
    end
    return #name + redis.call('HSTRLEN', hash, 'v:' .. name)
end

local before = there and tonumber(redis.call('HGET', hash, 'b')) or 0
local growth, removals = 0, 13 + 2 * ARGV[12]
for i = 13, removals - 1, 2 do
    growth = growth + #ARGV[i] + #ARGV[i + 1] - held(ARGV[i])
end
for i = removals, #ARGV do
    growth = growth - held(ARGV[i])
end
local size, most = before + growth, tonumber(ARGV[8])
if size > most and growth > 0 then
    return {-1, size, most}
end

if not there then
    forget(key)
    redis.call('HSET', hash, 'c', ARGV[3])
end
for i = 13, removals - 1, 2 do
    redis.call('HSET', hash, 'v:' .. ARGV[i], ARGV[i + 1])
end
for i = removals, #ARGV do
    redis.call('HDEL', hash, 'v:' .. ARGV[i])
end
redis.call('HSET', hash, 'b', size)
note(key, access, ARGV[5], ARGV[6])
weigh(key, size)
local given_up, more = evict(key, tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11]))
return {1, given_up, more}
""")

# key, the most sessions, the most bytes of all, steps -> how many were given up, 1 when more must be
EVICT = _script("return {evict(ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]))}")

# key, accessed, expires, ttl in ms -> 1 or 0
TOUCH = _script("""
if not alive(ARGV[2], ARGV[3]) then
    return 0
end
note(ARGV[2], ARGV[3], ARGV[4], ARGV[5])
return 1
""")

# old key, new key -> 1 or 0
RENAME = _script("""
local old, new = ARGV[2], ARGV[3]
if redis.call('EXISTS', prefix .. old) == 0 then
    return 0
end
if old == new then
    return 1
end
forget(new)
redis.call('RENAME', prefix .. old, prefix .. new)
local times = redis.call('HMGET', prefix .. new, 'a', 'e', 'b')
forget(old)
redis.call('ZADD', accessed, times[1], new)
redis.call('ZADD', expires, times[2], new)
weigh(new, times[3])
return 1
""")

# key -> 1 or 0
DELETE = _script("return forget(ARGV[2])")

# now, steps -> how many are forgotten, 1 when there may be more
SWEEP = _script("""
local keys = redis.call('ZRANGEBYSCORE', expires, '-inf', ARGV[2], 'LIMIT', 0, ARGV[3])
for _, key in ipairs(keys) do
    forget(key)
end
return {#keys, #keys == tonumber(ARGV[3]) and 1 or 0}
""")

# cursor, steps -> the next cursor, "0" at the end
MEND = _script("""
local found = redis.call('HSCAN', sizes, ARGV[2], 'COUNT', ARGV[3])
for i = 1, #found[2], 2 do
    local key = found[2][i]
    if key ~= '' then
        local times = redis.call('HMGET', prefix .. key, 'a', 'e')
        if not times[1] then
            forget(key)
        else
            redis.call('ZADD', accessed, times[1], key)
            redis.call('ZADD', expires, times[2], key)
        end
    end
end
return found[1]
""")

# -> how many sessions
COUNT = _script("return redis.call('ZCARD', accessed)")
