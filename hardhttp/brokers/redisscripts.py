"""What Redis itself does for a broker: Lua scripts, each of which Redis runs as one step.

Keys, all with one hash tag so that a cluster keeps them together:

- ``PREFIX meta``: a hash: ``epoch``, ``seq`` (the last number given), ``count`` and ``bytes`` of what is kept,
  ``forgotten`` (up to which number topics have lost something of which nothing is kept);
- ``PREFIX epochs``: a list, the present one last: ``NAME FIRST KEPT``, where KEPT is ``-`` while it is not known;
- ``PREFIX log``: a stream: under the id ``NUMBER-0`` a post, in a field that is called as its topic;
- ``PREFIX t:TOPIC``: a list of ``NUMBER:SIZE:TIME``, the oldest first; ``PREFIX sizes``: a hash of each topic's bytes;
- ``PREFIX lost``: a hash: up to which number a topic has lost what it had;
- ``PREFIX done``: a hash: the last number of each node that resends what has failed;
- ``PREFIX ids`` and ``PREFIX due``: what was posted with an idempotency key, and until when that is known;
- ``PREFIX nodes`` and ``PREFIX seen``: what each node says of itself, and when it did (by the clock of Redis);
  ``meta`` has ``beat``, when any of them last did, and ``since``, when they began to after all were silent;
- who is present: see ``redispresence``.

A script that cannot go on before ``HELLO`` was said (Redis has lost its data, or another node has noticed that)
answers -1.
"""

from __future__ import annotations

from hardhttp.remote.script import Script

__all__ = ["BEAT", "HELLO", "LOSSES", "POST", "script"]

_COMMON = """
local meta, prefix = KEYS[1], ARGV[1]

local function drop(topic)
    local oldest = redis.call('LPOP', prefix .. 't:' .. topic)
    local number, size = string.match(oldest, '^(%d+):(%d+):')
    redis.call('XDEL', prefix .. 'log', number .. '-0')
    redis.call('HINCRBY', meta, 'bytes', -size)
    redis.call('HINCRBY', meta, 'count', -1)
    local left = redis.call('HINCRBY', prefix .. 'sizes', topic, -size)
    if redis.call('EXISTS', prefix .. 't:' .. topic) == 1 then
        redis.call('HSET', prefix .. 'lost', topic, number)
        return left
    end
    redis.call('HDEL', prefix .. 'sizes', topic)
    redis.call('HDEL', prefix .. 'lost', topic)
    if tonumber(number) > tonumber(redis.call('HGET', meta, 'forgotten') or 0) then
        redis.call('HSET', meta, 'forgotten', number)
    end
    return 0
end

local function oldest_topic()
    local found = redis.call('XRANGE', prefix .. 'log', '-', '+', 'COUNT', 1)
    return found[1] and found[1][2][1]
end

local function time_of(topic)
    return tonumber(string.match(redis.call('LINDEX', prefix .. 't:' .. topic, 0), ':([^:]+)$'))
end

local function expire(horizon, steps)
    for _ = 1, steps do
        local topic = oldest_topic()
        if not topic then
            return
        end
        if time_of(topic) > horizon then
            return
        end
        drop(topic)
    end
end

local function here()
    local time = redis.call('TIME')
    return tonumber(time[1]) + tonumber(time[2]) / 1000000
end
"""


def script(body: str) -> Script:
    """What begins with what all scripts share: ``prefix`` and ``meta``."""
    return Script.of(_COMMON + body)


# the epoch the node knows, the last number it has, a name for a new epoch, the step to its numbers, the number up to
# which none may be given
# -> the last number given, and the epochs
HELLO = script("""
local epoch, number = redis.call('HGET', meta, 'epoch'), tonumber(redis.call('HGET', meta, 'seq') or 0)
local known = tonumber(ARGV[3])
if not epoch or (epoch == ARGV[2] and known > number) then
    if epoch then
        local last = string.match(redis.call('RPOP', prefix .. 'epochs'), '^(%S+ %S+)')
        redis.call('RPUSH', prefix .. 'epochs', last .. ' ' .. string.format('%d', number))
    end
    if epoch or known > 0 then
        number = math.max(number, known) + tonumber(ARGV[5])
    end
    redis.call('RPUSH', prefix .. 'epochs', ARGV[4] .. ' ' .. string.format('%d', number + 1) .. ' -')
    redis.call('LTRIM', prefix .. 'epochs', -16, -1)
    redis.call('HSET', meta, 'epoch', ARGV[4], 'seq', string.format('%d', number))
end
if number < tonumber(ARGV[6]) then
    number = tonumber(ARGV[6])
    redis.call('HSET', meta, 'seq', ARGV[6])
end
return {string.format('%d', number), redis.call('LRANGE', prefix .. 'epochs', 0, -1)}
""")

# the epoch, node, its number or 0, time, bounds: of a topic in posts and bytes, of all in posts and bytes, the time
# before which all is too old, the most keys, until when this one is known, idempotency key, id, topic, size, post,
# the time after which a topic's bounds are not held yet
# -> number, id, 1 if it is that of an earlier post
POST = script("""
local epoch, node, count, now = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
if redis.call('HGET', meta, 'epoch') ~= epoch then
    return {-1}
end
if count > 0 then
    local done = tonumber(redis.call('HGET', prefix .. 'done', node) or count - 1)
    if count <= done then
        return {0, '', 0}
    end
    if count > done + 1 then
        return {-2}
    end
    redis.call('HSET', prefix .. 'done', node, ARGV[4])
end
local key = ARGV[13]
if key ~= '' then
    for _, old in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'due', '-inf', now, 'LIMIT', 0, 100)) do
        redis.call('ZREM', prefix .. 'due', old)
        redis.call('HDEL', prefix .. 'ids', old)
    end
    local before = redis.call('HGET', prefix .. 'ids', key)
    if before and tonumber(redis.call('ZSCORE', prefix .. 'due', key)) > now then
        local number, id = string.match(before, '^(%d+ %S+) ?(.*)$')
        return {number, id, 1}
    end
end
local number = string.format('%d', redis.call('HINCRBY', meta, 'seq', 1))
if key ~= '' then
    redis.call('HSET', prefix .. 'ids', key, number .. ' ' .. epoch .. ' ' .. ARGV[14])
    redis.call('ZADD', prefix .. 'due', ARGV[12], key)
    while redis.call('ZCARD', prefix .. 'due') > tonumber(ARGV[11]) do
        redis.call('HDEL', prefix .. 'ids', redis.call('ZPOPMIN', prefix .. 'due')[1])
    end
end
local topic, size = ARGV[15], ARGV[16]
redis.call('XADD', prefix .. 'log', number .. '-0', topic, ARGV[17])
local length = redis.call('RPUSH', prefix .. 't:' .. topic, number .. ':' .. size .. ':' .. ARGV[5])
local bytes = redis.call('HINCRBY', prefix .. 'sizes', topic, size)
redis.call('HINCRBY', meta, 'count', 1)
redis.call('HINCRBY', meta, 'bytes', size)
for _ = 1, 100 do
    if length <= tonumber(ARGV[6]) and (bytes <= tonumber(ARGV[7]) or length < 2) then
        break
    end
    if time_of(topic) > tonumber(ARGV[18]) then
        break
    end
    bytes, length = drop(topic), length - 1
end
for _ = 1, 100 do
    local all, all_bytes = tonumber(redis.call('HGET', meta, 'count')), tonumber(redis.call('HGET', meta, 'bytes'))
    if all <= tonumber(ARGV[8]) and (all_bytes <= tonumber(ARGV[9]) or all < 2) then
        break
    end
    drop(oldest_topic())
end
expire(tonumber(ARGV[10]), 16)
return {number .. ' ' .. epoch, ARGV[14], 0}
""")

# the epoch -> up to which number all that is kept nowhere was lost, and TOPIC NUMBER for each that has lost something
LOSSES = script("""
if redis.call('HGET', meta, 'epoch') ~= ARGV[2] then
    return {-1}
end
return {redis.call('HGET', meta, 'forgotten') or '0', redis.call('HGETALL', prefix .. 'lost')}
""")

# node, its subscribers (or - when it leaves), after how many seconds of silence one is taken to be gone, and after how
# many it will not resend any more, the time before which all is too old
# -> how many nodes, their subscribers, whether this node was known to be there, and how many have left someone behind
BEAT = script("""
local now, node, known = here(), ARGV[2], redis.call('HEXISTS', prefix .. 'nodes', ARGV[2])
local function gone(each)
    redis.call('HDEL', prefix .. 'nodes', each)
    if redis.call('EXISTS', prefix .. 'p:' .. each) == 1 then
        redis.call('SADD', prefix .. 'gone', each)
    end
end
-- after an outage of Redis itself nobody is taken to be gone who has not had the time to come back
if now - tonumber(redis.call('HGET', meta, 'beat') or 0) > ARGV[4] / 2 then
    redis.call('HSET', meta, 'since', string.format('%.6f', now))
end
redis.call('HSET', meta, 'beat', string.format('%.6f', now))
local since = tonumber(redis.call('HGET', meta, 'since') or 0)
if ARGV[3] == '-' then
    gone(node)
else
    redis.call('HSET', prefix .. 'nodes', node, ARGV[3])
    redis.call('ZADD', prefix .. 'seen', now, node)
end
for _, each in ipairs(redis.call('HKEYS', prefix .. 'nodes')) do
    local at = tonumber(redis.call('ZSCORE', prefix .. 'seen', each) or 0)
    if math.max(at, since) < now - ARGV[4] then
        gone(each)
    end
end
for _, silent in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'seen', '-inf', now - ARGV[5], 'LIMIT', 0, 100)) do
    redis.call('ZREM', prefix .. 'seen', silent)
    redis.call('HDEL', prefix .. 'done', silent)
end
expire(tonumber(ARGV[6]), 100)
local said, sum = redis.call('HVALS', prefix .. 'nodes'), 0
for _, each in ipairs(said) do
    sum = sum + each
end
return {#said, sum, known, redis.call('SCARD', prefix .. 'gone')}
""")
