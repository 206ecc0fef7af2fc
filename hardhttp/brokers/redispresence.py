"""Who is present at the nodes of a broker in Redis.

Each node has a hash of its own there: ``PREFIX p:NODE``, a record for each id. It is the node's for as long as the
node is in touch: who beats sees who has not for ``lease_seconds``, and puts the name of one that left somebody behind
into the set ``PREFIX gone``. One of the others then takes a few records at a time, tells of them (its hub does), and
removes them; the key ``PREFIX teller`` is its lease on that. Should it die meanwhile, what it had not removed is told
by another: some of it twice, none of it never. A node that was taken to be gone and is not can record nothing until
that is over, so what is told last is what is so.

How many there are at all nodes, and their bytes, stand in ``PREFIX meta``, and only these scripts change them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from hardhttp.brokers.redisscripts import script
from hardhttp.errors import BrokerAwayError
from hardhttp.interfaces import PresentPage

if TYPE_CHECKING:
    from hardhttp.interfaces import BrokerBounds, IBrokerNode

__all__ = ["RedisPresence"]

# Of records in one answer of Redis, about; those of one node that is gone are told of in portions of no more.
PAGE_RECORDS, PAGE_BYTES = 64, 256 << 10

# node, the most records and bytes, then id and record of each
# -> -1 if the node is taken to be gone, 0 if there is no room, or 1 and for each whether it was not there before
RECORD = script("""
local node, fresh, bytes, found = ARGV[2], 0, 0, {1}
local mine = prefix .. 'p:' .. node
if redis.call('HEXISTS', prefix .. 'nodes', node) == 0 or redis.call('SISMEMBER', prefix .. 'gone', node) == 1 then
    return {-1}
end
for place = 5, #ARGV, 2 do
    local old = redis.call('HSTRLEN', mine, ARGV[place])
    found[#found + 1] = old == 0 and 1 or 0
    fresh = fresh + found[#found]
    bytes = bytes + #ARGV[place + 1] - old
end
if fresh > 0 and (tonumber(redis.call('HGET', meta, 'present') or 0) + fresh > tonumber(ARGV[3])
        or tonumber(redis.call('HGET', meta, 'present_bytes') or 0) + bytes > tonumber(ARGV[4])) then
    return {0}
end
for place = 5, #ARGV, 2 do
    redis.call('HSET', mine, ARGV[place], ARGV[place + 1])
end
redis.call('HINCRBY', meta, 'present', fresh)
redis.call('HINCRBY', meta, 'present_bytes', bytes)
return found
""")

# node, then the ids of those it does not have any more
ERASE = script("""
local theirs = prefix .. 'p:' .. ARGV[2]
for place = 3, #ARGV do
    local old = redis.call('HSTRLEN', theirs, ARGV[place])
    if old > 0 then
        redis.call('HDEL', theirs, ARGV[place])
        redis.call('HINCRBY', meta, 'present', -1)
        redis.call('HINCRBY', meta, 'present_bytes', -old)
    end
end
if redis.call('EXISTS', theirs) == 0 then
    redis.call('SREM', prefix .. 'gone', ARGV[2])
end
""")

# who will tell, for how many milliseconds it may take, how many records and bytes at most
# -> a node that is gone, and id and record of some it has left behind; or nothing, if another tells or there is none
DEPARTED = script("""
local teller = redis.call('GET', prefix .. 'teller')
if teller and teller ~= ARGV[2] then
    return {}
end
for _, each in ipairs(redis.call('SMEMBERS', prefix .. 'gone')) do
    local cursor, found, bytes = '0', {each}, 0
    repeat
        local page = redis.call('HSCAN', prefix .. 'p:' .. each, cursor, 'COUNT', ARGV[4])
        cursor = page[1]
        for place = 1, #page[2], 2 do
            if #found == 1 or (#found < 2 * ARGV[4] and bytes + #page[2][place + 1] <= tonumber(ARGV[5])) then
                found[#found + 1] = page[2][place]
                found[#found + 1] = page[2][place + 1]
                bytes = bytes + #page[2][place + 1]
            end
        end
    until #found > 1 or cursor == '0'
    if #found > 1 then
        redis.call('SET', prefix .. 'teller', ARGV[2], 'PX', ARGV[3])
        return found
    end
    redis.call('SREM', prefix .. 'gone', each)
end
redis.call('DEL', prefix .. 'teller')
return {}
""")

# -> all nodes that may have somebody
NODES = script("""
local found = redis.call('HKEYS', prefix .. 'nodes')
for _, each in ipairs(redis.call('SMEMBERS', prefix .. 'gone')) do
    found[#found + 1] = each
end
return found
""")

# node, where to go on, how many about, what must be in a record, and an id or nothing
# -> where to go on then, and id and record of each
PRESENT = script("""
local theirs = prefix .. 'p:' .. ARGV[2]
if ARGV[6] ~= '' then
    local record = redis.call('HGET', theirs, ARGV[6])
    if record and string.find(record, ARGV[5], 1, true) then
        return {'0', ARGV[6], record}
    end
    return {'0'}
end
local page = redis.call('HSCAN', theirs, ARGV[3], 'COUNT', ARGV[4])
local found = {page[1]}
for place = 1, #page[2], 2 do
    if string.find(page[2][place + 1], ARGV[5], 1, true) then
        found[#found + 1] = page[2][place]
        found[#found + 1] = page[2][place + 1]
    end
end
return found
""")


class RedisPresence:
    """The presence of one node. ``ask`` runs a script, and fails with ``BrokerAwayError``."""

    _log = Logger()

    def __init__(self, ask: Callable[..., Awaitable[Any]], bounds: BrokerBounds) -> None:
        self._ask, self._bounds = ask, bounds
        self.node: IBrokerNode | None = None
        self._telling: Deferred[None] | None = None

    @property
    def _there(self) -> IBrokerNode:
        if self.node is None:
            raise BrokerAwayError("it is not started")
        return self.node

    async def record(self, present: Mapping[str, bytes]) -> Collection[str] | None:
        bounds = self._bounds
        words = [word for id, record in present.items() for word in (id.encode(), record)]
        most = (b"%d" % bounds.max_present, b"%d" % bounds.max_present_bytes)
        answer = await self._ask(RECORD, self._there.name.encode(), *most, *words)
        if answer[0] == -1:
            raise BrokerAwayError("others are being told that this node had gone")
        if answer[0] == 0:
            return None
        return {id for id, fresh in zip(present, answer[1:], strict=True) if fresh}

    async def erase(self, ids: Collection[str], node: bytes | None = None) -> None:
        await self._ask(ERASE, node or self._there.name.encode(), *(id.encode() for id in ids))

    async def present(self, word: bytes, id: str | None, place: Any) -> PresentPage:
        """A ``place`` is the names of nodes that are to come, the one that is being read first, and its cursor."""
        names, cursor = place or (tuple(dict.fromkeys(await self._ask(NODES))), b"0")
        if not names:
            return PresentPage({})
        cursor, *found = await self._ask(
            PRESENT, names[0], cursor, b"%d" % PAGE_RECORDS, word, b"" if id is None else id.encode()
        )
        if cursor == b"0":
            names = names[1:]
        return PresentPage(_pairs(found), (names, cursor) if names else None)

    # -- nodes that are gone ------------------------------------------------------------------

    def tell(self) -> None:
        """Have the node tell of those whom others have left behind, unless it does already, or another does."""
        if self._telling is None:
            telling = self._telling = Deferred.fromCoroutine(self._tell(self._there))
            telling.addBoth(self._told)

    def _told(self, became: object) -> None:
        self._telling = None
        if isinstance(became, Failure) and not became.check(CancelledError, BrokerAwayError):
            self._log.failure("it could not be told who is gone", became)

    async def _tell(self, node: IBrokerNode) -> None:
        lease = b"%d" % round(self._bounds.lease_seconds * 1000)
        most = (b"%d" % PAGE_RECORDS, b"%d" % PAGE_BYTES)
        while found := await self._ask(DEPARTED, node.name.encode(), lease, *most):
            present = _pairs(found[1:])
            await node.departed(present)
            await self.erase(present, found[0])

    def close(self) -> None:
        if self._telling is not None:
            self._telling.cancel()


def _pairs(found: list[bytes]) -> dict[str, bytes]:
    return {id.decode(): record for id, record in zip(found[::2], found[1::2], strict=True)}
