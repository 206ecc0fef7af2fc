"""One connection to Redis, made when it is first needed and made again when it is lost.

It is always in exactly one phase:

    IDLE        nothing is open; the next call connects
    CONNECTING  calls wait for the connection
    READY       calls are sent at once, and answered in their order
    AWAY        the last attempt failed: calls fail at once, while further attempts go on in the background,
                each after a longer pause, up to ``MAX_PAUSE_SECONDS``, and at random shorter: after an outage
                not all processes are to come at once

    IDLE --call--> CONNECTING --answers--> READY --lost--> IDLE
                   CONNECTING --fails--> AWAY --answers--> READY --silent--> AWAY

A call is answered within ``answer_seconds``, the wait for the connection included, or fails. One overdue answer
condemns the connection: answers come in order, so all behind it would be late too. The protocol itself is
txredisapi's; passwords, sentinels, deadlines and reconnecting are here.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from hardhttp.errors import StoreError
from hardhttp.remote.pending import Pending
from hardhttp.remote.redistls import trouble

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

    from hardhttp.remote.redisaddress import RedisAddress
    from hardhttp.remote.script import Script

__all__ = ["Phase", "RedisConnection"]

MAX_PENDING = 4096
MIN_PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 2.0
JITTER = 0.5


class Phase(Enum):
    IDLE = "idle"
    CONNECTING = "connecting"
    READY = "ready"
    AWAY = "away"


@cache
def _protocol() -> type[Any]:
    import txredisapi  # here, because it imports the reactor

    class Redis(txredisapi.RedisProtocol):
        """``lost`` is why it has lost its connection."""

        lost: BaseException | None = None

        def connectionLost(self, why: Failure) -> None:
            self.lost = why.value
            super().connectionLost(why)

    return Redis


class _Protocols(Factory):
    noisy = False

    def buildProtocol(self, address: object) -> Any:
        return _protocol()(charset=None, convertNumbers=False)


class RedisConnection:
    """Runs scripts and commands on the Redis at ``address``. ``phase`` is where it stands."""

    _log = Logger()

    def __init__(self, address: RedisAddress, reactor: Any, answer_seconds: float) -> None:
        self._address, self._reactor, self._answer_seconds = address, reactor, answer_seconds
        self._pending = Pending(reactor, answer_seconds, MAX_PENDING, self._overdue)
        self._waiting: deque[tuple[Deferred[Any], Script | None, Sequence[bytes]]] = deque()
        self._protocol: Any = None
        self._known: set[bytes] = set()  # digests of the scripts that this connection has sent whole
        self._attempt: Deferred[Any] | None = None
        self._retry: IDelayedCall | None = None
        self._pause_seconds = MIN_PAUSE_SECONDS
        self._attempts = 0
        self._why = ""
        self.phase = Phase.IDLE

    def run(self, script: Script, arguments: Sequence[bytes]) -> Deferred[Any]:
        """Run ``script`` with ``arguments`` (how many keys, and the keys first); its answer, or ``StoreError``."""
        return self._ask(script, arguments)

    def call(self, *words: bytes) -> Deferred[Any]:
        """One command; its answer, or ``StoreError``."""
        return self._ask(None, words)

    def _ask(self, script: Script | None, arguments: Sequence[bytes]) -> Deferred[Any]:
        if self.phase is Phase.AWAY:
            return fail(StoreError(self._why))
        try:
            call = self._pending.add()
        except StoreError as error:
            return fail(error)
        if self.phase is Phase.READY:
            self._send(call, script, arguments)
        else:
            self._waiting.append((call, script, arguments))
            if self.phase is Phase.IDLE:
                self.phase = Phase.CONNECTING
                self._connect()
        return call

    async def close(self) -> None:
        """Wait for the answers that are due, then let go of everything. The next call connects again."""
        await self._pending.settled()
        self.phase = Phase.IDLE
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._pause_seconds = MIN_PAUSE_SECONDS
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.cancel()
        await self._drop()

    # -- the connection -----------------------------------------------------------------------

    def _connect(self) -> None:
        self._retry = None
        attempt = Deferred.fromCoroutine(self._open()).addTimeout(self._answer_seconds, self._reactor)
        self._attempt = attempt
        attempt.addCallbacks(self._opened, self._failed, callbackArgs=(attempt,), errbackArgs=(attempt,))

    async def _open(self) -> Any:
        """A protocol whose Redis has let us in and answers."""
        address = self._address
        if address.sentinels:
            address = await self._located()
        commands: list[tuple[str, ...]] = [("PING",)]
        if self._address.sentinels:
            commands[0] = ("ROLE",)  # sentinels may not know yet that it is not the master any more
        if self._address.database:
            commands.insert(0, ("SELECT", str(self._address.database)))
        if self._address.password is not None:
            username = () if self._address.username is None else (self._address.username,)
            commands.insert(0, ("AUTH", *username, self._address.password))
        protocol, answer = await self._connected(address, commands)
        if self._address.sentinels and answer[0] != b"master":
            protocol.transport.abortConnection()
            raise ConnectError(string="it is not the master")
        return protocol

    async def _connected(self, address: RedisAddress, commands: Sequence[Sequence[str]]) -> tuple[Any, Any]:
        """A protocol, and the answer to the last of ``commands``."""
        try:
            endpoint = address.endpoint(self._reactor, self._answer_seconds)
        except ValueError as error:
            raise ConnectError(string=str(error)) from None
        protocol: Any = await endpoint.connect(_Protocols())
        try:
            for command in commands:
                answer = await protocol.execute_command(*(word.encode("utf-8") for word in command))
        except BaseException:
            protocol.transport.abortConnection()
            if address.tls is not None and (why := trouble(protocol.lost, address.host)) is not None:
                raise ConnectError(string=why) from None
            raise
        return protocol, answer

    async def _located(self) -> RedisAddress:
        """The master, by what the first sentinel says that knows it. The next attempt begins with another one."""
        sentinels = self._address.of_sentinels()
        begin, self._attempts = self._attempts % len(sentinels), self._attempts + 1
        seconds = self._answer_seconds / (len(sentinels) + 1)
        asked = ("SENTINEL", "get-master-addr-by-name", self._address.master)
        why = ""
        for sentinel in (*sentinels[begin:], *sentinels[:begin]):
            asking = Deferred.fromCoroutine(self._connected(sentinel, [asked]))
            try:
                protocol, found = await asking.addTimeout(seconds, self._reactor)
            except CancelledError:
                raise
            except Exception as error:
                why = f"; of the last that was asked: {_reason(error)}"
                continue  # it is away; another will know
            protocol.transport.abortConnection()
            if found:
                host, port = found
                return self._address.at(host.decode("ascii"), int(port))
        raise ConnectError(string=f"no sentinel knows the master{why}")

    def _opened(self, protocol: Any, attempt: Deferred[Any]) -> None:
        self._attempt = None
        if not protocol.connected:
            return self._lose_hope("the connection was lost")
        if self.phase is Phase.AWAY:
            self._log.info("Redis at {address} is back", address=str(self._address))
        self.phase, self._protocol = Phase.READY, protocol
        self._known.clear()
        self._pause_seconds = MIN_PAUSE_SECONDS
        protocol.whenDisconnected().addCallback(self._lost)
        waiting, self._waiting = self._waiting, deque()
        for call, script, arguments in waiting:
            if call in self._pending:
                self._send(call, script, arguments)
        return None

    def _failed(self, failure: Failure, attempt: Deferred[Any]) -> None:
        if self._attempt is attempt:  # otherwise it was we who gave it up
            self._attempt = None
            self._lose_hope(_reason(failure.value))

    def _lost(self, protocol: Any) -> None:
        if protocol is self._protocol:
            self.phase, self._protocol = Phase.IDLE, None
            self._pending.fail(f"Redis at {self._address}: the connection was lost")

    def _overdue(self) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.cancel()
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.transport.abortConnection()
        self._lose_hope(f"no answer within {self._answer_seconds:g} s")

    def _lose_hope(self, reason: str) -> None:
        """Be away, and try again after a pause."""
        self._why = f"Redis at {self._address}: {reason}"
        if self.phase is not Phase.AWAY:
            self._log.warn("{why}", why=self._why)
        self.phase = Phase.AWAY
        self._retry = self._reactor.callLater(self._pause_seconds * random.uniform(JITTER, 1), self._connect)
        self._pause_seconds = min(2 * self._pause_seconds, MAX_PAUSE_SECONDS)
        self._waiting.clear()
        self._pending.fail(self._why)

    async def _drop(self) -> None:
        protocol, self._protocol = self._protocol, None
        if protocol is not None and protocol.connected:
            gone = protocol.whenDisconnected()
            protocol.transport.abortConnection()  # every answer has come; TLS would wait for the peer's goodbye
            await gone

    # -- one call -----------------------------------------------------------------------------

    def _send(self, call: Deferred[Any], script: Script | None, arguments: Sequence[bytes]) -> None:
        import txredisapi

        protocol = self._protocol

        def refused(failure: Failure) -> None:
            error = failure.value
            if script is not None and isinstance(error, txredisapi.ResponseError) and str(error).startswith("NOSCRIPT"):
                if call in self._pending and protocol.connected:
                    again = protocol.execute_command(b"EVAL", script.text, *arguments)
                    again.addCallbacks(self._pending_answer(call), refused)
                return
            self._pending.answer(call, StoreError(f"Redis at {self._address}: {_reason(error)}"))
            if isinstance(error, txredisapi.ResponseError) and str(error).startswith("READONLY"):
                protocol.transport.abortConnection()  # it was the master, and has become another's replica

        words = arguments if script is None else (*self._by_name(script), *arguments)
        sent = protocol.execute_command(*words)
        sent.addCallbacks(self._pending_answer(call), refused)

    def _by_name(self, script: Script) -> tuple[bytes, bytes]:
        """Whole the first time: were it unknown, it would be sent again, behind calls that came after it."""
        if script.sha1 in self._known:
            return b"EVALSHA", script.sha1
        self._known.add(script.sha1)
        return b"EVAL", script.text

    def _pending_answer(self, call: Deferred[Any]) -> Any:
        return lambda answer: self._pending.answer(call, answer)


def _reason(error: BaseException | None) -> str:
    """Why, in words that hold nothing of ours: Redis quotes the arguments of what it does not know."""
    import txredisapi

    if isinstance(error, txredisapi.ResponseError):
        code = str(error).partition(" ")[0]
        return f"it answered {code if code.isalpha() and code.isupper() else 'an error'}"
    if isinstance(error, DeferredTimeout | CancelledError):
        return "no answer in time"
    if isinstance(error, txredisapi.ConnectionError | ConnectionClosed):
        return "the connection was lost"
    if isinstance(error, ConnectError):
        return str(error)
    return f"it cannot be reached ({type(error).__name__})"
