"""Hubs on many machines as one, by Redis.

The one order is a stream, which a script appends to and trims (``redisscripts``). Each node reads it, waiting, on a
connection of its own (``XREAD BLOCK``), from the last number it has: so nothing has to be subscribed to, and
nothing is missed between two reads. A second connection carries all else.

A node is READY when it has read to the end. Whatever fails on either connection makes it AWAY: calls then fail at
once, and it begins anew, after a pause that grows and is at random shorter: it says ``HELLO``, which tells it whether
Redis still has what it had, and reads on. Every call has a deadline, so a Redis that is cut off, or that accepts
connections and says nothing, is AWAY after ``answer_seconds``, or ``answer_seconds`` and a wait of the reader.

What Redis promises about keeping data is what the history gets. Numbers that it has lost are not given again: the
first node that knows more than Redis begins a new epoch, and everybody is told of a gap.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from zope.interface import implementer

from hardhttp.brokers import redisscripts
from hardhttp.brokers.counting import EPOCH_STEP, PAGE_POSTS, new_name, size_of, topic_of
from hardhttp.brokers.packing import pack, unpack
from hardhttp.brokers.redispresence import RedisPresence
from hardhttp.errors import BrokerAwayError, StoreError
from hardhttp.interfaces import (
    BrokerBounds,
    BrokerEpoch,
    BrokerState,
    Delivery,
    Everywhere,
    IBroker,
    IBrokerNode,
    Losses,
    Post,
    Posted,
    PresentPage,
)
from hardhttp.remote.redisaddress import RedisAddress
from hardhttp.remote.redisconnection import RedisConnection

if TYPE_CHECKING:
    from hardhttp.remote.script import Script

__all__ = ["RedisBroker"]

ANSWER_SECONDS = 2.0
PREFIX = "{hardhttp}:events:"
# How long the reader waits for something new before it asks again: so long a dead connection may go unnoticed.
WAIT_SECONDS = 1.0
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.05, 1.0
JITTER = 0.5
# A node says so many times in ``lease_seconds`` that it is there, and how many are subscribed.
BEATS = 3
# So long a node may be away and still resend what it had not got done, each once.
RESEND_SECONDS = 86_400.0


@implementer(IBroker)
class RedisBroker:
    """The broker in the Redis at ``url`` (see ``redisaddress``), under keys that begin with ``prefix``.

    Nothing is connected before ``start``. Raises ``ValueError`` for a URL it cannot use, and ``StoreError`` when
    txredisapi is not installed.
    """

    _log = Logger()

    def __init__(
        self,
        url: str,
        reactor: Any,
        *,
        bounds: BrokerBounds | None = None,
        prefix: str = PREFIX,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        try:
            import txredisapi  # noqa: F401
        except ImportError:
            raise StoreError("a broker in Redis needs txredisapi: pip install 'hardhttp[redis]'") from None
        self._address = RedisAddress.parse(url)
        self._reactor = reactor
        self.bounds = bounds or BrokerBounds()
        self._commands = RedisConnection(self._address, reactor, answer_seconds)
        self._reader = RedisConnection(self._address, reactor, answer_seconds + WAIT_SECONDS)
        self._keys = (b"1", f"{prefix}meta".encode(), prefix.encode())
        self._stream = f"{prefix}log".encode()
        self._node: IBrokerNode | None = None
        self._following: Deferred[None] | None = None
        self._reading: Deferred[Any] | None = None
        self._beat = LoopingCall(self._say)
        self._beat.clock = reactor
        self._presence = RedisPresence(self._ask_ready, self.bounds)
        self._loaded = self._is_closed = False
        self._page_posts = PAGE_POSTS
        self._pause_seconds = MIN_PAUSE_SECONDS
        self.state = BrokerState.CONNECTING
        self.why_away: str | None = "it has not been reached yet"
        self.everywhere = Everywhere(0, 0)

    def __repr__(self) -> str:
        return f"<RedisBroker {self._address}, {self.state}>"

    def start(self, node: IBrokerNode) -> None:
        if self._node is not None:
            raise ValueError("a broker is one hub's: make another RedisBroker for the same Redis")
        self._node = self._presence.node = node
        self._following = Deferred.fromCoroutine(self._follow(node))

    async def _close(self) -> None:
        # Who closes may be called by what is delivered: then there is nothing to cancel, and _follow sees it itself.
        was, self.state, self.why_away, self._is_closed = self.state, BrokerState.AWAY, "it is closed", True
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
        if self._reading is not None:
            self._reading.cancel()
        if self._beat.running:
            self._beat.stop()
        self._presence.close()
        if was is BrokerState.READY:
            with suppress(StoreError):  # they will find out
                await self._ask(redisscripts.BEAT, *self._beat_words(b"-"))
        await self._commands.close()
        await self._reader.close()

    def close(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._close())

    # -- posting ------------------------------------------------------------------------------

    def post(self, post: Post) -> Deferred[Posted]:
        return Deferred.fromCoroutine(self._post(post))

    async def _post(self, post: Post) -> Posted:
        node, bounds = self._node, self.bounds
        if node is None:
            raise BrokerAwayError("it is not started")
        now = self._reactor.seconds()
        answer = await self._ask_ready(
            redisscripts.POST,
            node.epoch.encode(),
            post.node.encode(),
            b"%d" % (post.number if post.resent else 0),
            _number(now),
            *(b"%d" % most for most in (bounds.max_topic_updates, bounds.max_topic_bytes)),
            *(b"%d" % most for most in (bounds.max_updates, bounds.max_bytes)),
            _number(self._horizon(now)),
            b"%d" % bounds.max_idempotency_keys,
            _number(now + bounds.idempotency_seconds),
            _text(post.idempotency_key or ""),
            _text(post.id or ""),
            _text(topic_of(post)),
            b"%d" % size_of(post),
            pack(post),
            _number(now - bounds.read_seconds),
        )
        if answer[0] in (-1, -2):
            self._stumble("it has lost what it had" if answer[0] == -1 else "an earlier event is not done")
            raise BrokerAwayError("the broker begins anew")
        if answer[0] == 0:
            return Posted(0, node.epoch, post.id)
        number, epoch = answer[0].decode("ascii").split()
        id = answer[1].decode("utf-8", "surrogatepass")
        return Posted(int(number), epoch, id or None, bool(answer[2]))

    def _horizon(self, now: float) -> float:
        seconds = self.bounds.max_age_seconds
        return now - seconds if seconds is not None else 0.0

    # -- following ----------------------------------------------------------------------------

    async def _follow(self, node: IBrokerNode) -> None:
        """Read the one order, for ever."""
        while True:
            try:
                await self._catch_up(node)
                self._ready(node)
                while self.state is BrokerState.READY:
                    await self._deliver(node, wait=True)
            except CancelledError:
                pass  # it stumbled, or is closed
            except StoreError as error:
                self._away(node, str(error))
            except Exception:  # whatever is wrong, it is tried again
                self._log.failure("the broker could not be followed")
                self._away(node, "it could not be followed")
            if self._is_closed:
                return
            pause, self._pause_seconds = self._pause_seconds, min(2 * self._pause_seconds, MAX_PAUSE_SECONDS)
            try:
                await deferLater(self._reactor, pause * random.uniform(JITTER, 1))
            except CancelledError:
                return

    async def _catch_up(self, node: IBrokerNode) -> None:
        """See whether Redis is what it was, and read up to its end."""
        number, epochs = await self._ask(
            redisscripts.HELLO,
            node.epoch.encode(),
            b"%d" % node.last_sequence,
            new_name().encode(),
            b"%d" % EPOCH_STEP,
            b"%d" % node.floor,
        )
        node.welcome(tuple(map(_epoch, epochs)))
        last = int(number)
        if not self._loaded:
            while page := await self._page(node, wait=False):
                node.load(page)
            node.lost(await self._losses(node), max(last, node.last_sequence))
            self._loaded = True
        else:
            while await self._deliver(node, wait=False):
                pass
            if node.last_sequence < last:
                node.lost(await self._losses(node), last)

    async def _deliver(self, node: IBrokerNode, *, wait: bool) -> bool:
        """The next page, and around each hole in it, what was lost there; whether there was something."""
        page = await self._page(node, wait=wait)
        begin = 0
        for place, delivery in enumerate(page):
            expected = page[place - 1].sequence + 1 if place else node.last_sequence + 1
            if delivery.sequence != expected:
                losses = await self._losses(node)
                node.deliver(page[begin:place])
                node.lost(losses, delivery.sequence - 1)
                begin = place
        if page:
            node.deliver(page[begin:])
        return bool(page)

    async def _page(self, node: IBrokerNode, *, wait: bool) -> list[Delivery]:
        """What comes next. After a failure it asks for less, since what did not come in time may have been too much."""
        if self._is_closed:
            raise CancelledError
        words: list[bytes] = [b"XREAD", b"COUNT", b"%d" % self._page_posts]
        if wait:
            words += [b"BLOCK", b"%d" % round(WAIT_SECONDS * 1000)]
        self._reading = self._reader.call(*words, b"STREAMS", self._stream, b"%d-0" % node.last_sequence)
        try:
            answer = await self._reading
        except StoreError:
            self._page_posts = 1 + self._page_posts // 8
            raise
        self._page_posts = PAGE_POSTS
        found: list[Delivery] = []
        post: Post | None
        for id, fields in answer[0][1] if answer else ():
            try:
                post = unpack(fields[1])
            except ValueError:
                self._log.failure("a post is not readable")
                post = None
            found.append(Delivery(int(id.partition(b"-")[0]), post))
        return found

    async def _losses(self, node: IBrokerNode) -> Losses:
        """What is lost. A hole is also where another epoch begins, which others have seen before: then begin anew."""
        answer = await self._ask(redisscripts.LOSSES, node.epoch.encode())
        if answer == [-1]:
            raise StoreError(f"Redis at {self._address}: it has lost what it had")
        forgotten, lost = answer
        pairs = zip(lost[::2], lost[1::2], strict=True)
        return Losses(int(forgotten), {name.decode("utf-8", "surrogatepass"): int(to) for name, to in pairs})

    # -- there and away -----------------------------------------------------------------------

    def _ready(self, node: IBrokerNode) -> None:
        if self._is_closed:
            return
        self._pause_seconds = MIN_PAUSE_SECONDS
        if self.state is BrokerState.AWAY:
            self._log.info("the broker {address} is back", address=str(self._address))
        self.state, self.why_away = BrokerState.READY, None
        if not self._beat.running:
            self._beat.start(self.bounds.lease_seconds / BEATS * random.uniform(1 - JITTER / 2, 1))
        node.changed(self.state)

    def _away(self, node: IBrokerNode, why: str) -> None:
        if self._is_closed:
            return
        self.why_away = why
        if self.state is BrokerState.READY:
            self._log.warn("the broker is away: {why}", why=why)
            self.state = BrokerState.AWAY
            self.everywhere = Everywhere(0, 0)
            node.changed(self.state)
        if self._beat.running:
            self._beat.stop()

    def _stumble(self, why: str) -> None:
        """Something failed beside the reading: begin anew."""
        if self.state is BrokerState.READY and self._node is not None:
            self._away(self._node, why)
            if self._reading is not None:
                self._reading.cancel()

    def _say(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._beat_once())

    async def _beat_once(self) -> None:
        assert self._node is not None  # it is ready
        try:
            nodes, subscribers, known, gone = await self._ask(
                redisscripts.BEAT, *self._beat_words(b"%d" % self._node.subscriber_count)
            )
        except StoreError as error:
            return self._stumble(str(error))
        if self.state is BrokerState.READY:
            self.everywhere = Everywhere(nodes, subscribers)
            if not known:  # it is the first time, or others thought that it was gone
                self._node.changed(self.state)
            if gone and self._node.tells_presence:
                self._presence.tell()
        return None

    def _beat_words(self, said: bytes) -> tuple[bytes, ...]:
        assert self._node is not None
        horizon = self._horizon(self._reactor.seconds())
        return (
            self._node.name.encode(),
            said,
            _number(self.bounds.lease_seconds),
            _number(RESEND_SECONDS),
            _number(horizon),
        )

    # -- who is present -----------------------------------------------------------------------

    def record(self, present: Mapping[str, bytes]) -> Deferred[Collection[str] | None]:
        return Deferred.fromCoroutine(self._presence.record(present))

    def erase(self, ids: Collection[str]) -> Deferred[None]:
        return Deferred.fromCoroutine(self._presence.erase(ids))

    def present(self, word: bytes = b"", id: str | None = None, place: object = None) -> Deferred[PresentPage]:
        return Deferred.fromCoroutine(self._presence.present(word, id, place))

    async def _ask_ready(self, script: Script, *arguments: bytes) -> Any:
        if self.state is not BrokerState.READY:
            raise BrokerAwayError(self.why_away or "it is not started")
        try:
            return await self._ask(script, *arguments)
        except StoreError as error:
            self._stumble(str(error))
            raise BrokerAwayError(str(error)) from None

    def _ask(self, script: Script, *arguments: bytes) -> Deferred[Any]:
        return self._commands.run(script, (*self._keys, *arguments))


def _number(seconds: float) -> bytes:
    return b"%.6f" % seconds


def _text(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _epoch(text: bytes) -> BrokerEpoch:
    name, first, kept = text.decode("ascii").split()
    return BrokerEpoch(name, int(first), None if kept == "-" else int(kept))
