"""Load: many clients of one kind, paced, bounded in number and in time, with nothing left at its end.

A ``Load`` is made for one run of one scenario. Its clients are coroutines, so thousands of them
cost a connection and a few kilobytes each. It owns every connection its clients open and every
wait they are in; when its time is up it resets the ones and ends the others by raising
``LoadEnded`` in them, and ``run`` is done when all have gone.

What became of clients is in ``outcomes``: statuses, ``closed``, ``reset``, ``refused``, and
``held`` for those that were still kept at the end. ``held_seconds`` is how long the longest was.
"""

from __future__ import annotations

import collections
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import SSL4ClientEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionClosed, UserError
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from hardhttp.soak.connection import Connection, ConnectionEnded
from hardhttp.soak.scenario import HELD, Scenario
from hardhttp.soak.where import Where

__all__ = ["Load", "LoadEnded", "Refused"]

CONNECT_SECONDS = 5.0
# A client that failed at once is not tried again at once.
AGAIN_SECONDS = 0.25
# How many kinds of outcome are told apart.
MOST_OUTCOMES = 50
MOST_TURNS = 1000


class LoadEnded(Exception):
    """The time is up."""


class Refused(Exception):
    """No connection could be made."""


class Load:
    """``seconds`` of load on ``where``. ``reactor``: IReactorTime and IReactorTCP.

    ``scale`` multiplies how many clients and how often; a run on a small machine takes less than one.
    ``pid``: the server's process, for those scenarios that reach for it.
    """

    def __init__(
        self, reactor: Any, where: Where, seconds: float, *, scale: float = 1.0, pid: int | None = None
    ) -> None:
        self.reactor, self.where, self.seconds, self.scale, self.pid = reactor, where, seconds, scale, pid
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.held_seconds = 0.0
        self.opened_count = 0
        self.ended = False
        self._connections: dict[Connection, float] = {}
        self._waits: set[Deferred[Any]] = set()
        self._connecting: set[Deferred[Any]] = set()
        self._began = reactor.seconds()

    # -- running ---------------------------------------------------------------------------

    async def run(self, scenario: Scenario) -> None:
        """Run ``scenario`` until the time is up, and all it has made is gone. Raises what it raises of its own."""
        self._began = self.reactor.seconds()
        timer = self.reactor.callLater(self.seconds, self.end)
        try:
            await scenario.run(self)
            if not self.ended:
                await self.sleep(max(0.0, self.remaining_seconds))
        except LoadEnded:
            pass
        finally:
            if timer.active():
                timer.cancel()
            self.end()
            await self._gone()

    @property
    def remaining_seconds(self) -> float:
        return self._began + self.seconds - self.reactor.seconds()

    @property
    def elapsed_seconds(self) -> float:
        now: float = self.reactor.seconds()
        return now - self._began

    @property
    def open_count(self) -> int:
        """Connections that are open now."""
        return len(self._connections)

    def _is_over(self) -> bool:
        return self.ended

    def end(self) -> None:
        """End every wait, reset every connection. Done twice it does nothing."""
        if self.ended:
            return
        self.ended = True
        for connection, since in list(self._connections.items()):
            self.held_seconds = max(self.held_seconds, self.reactor.seconds() - since)
            self.count(HELD)
            connection.reset()
        for connecting in list(self._connecting):
            connecting.cancel()
        for wait in list(self._waits):
            if not wait.called:
                wait.errback(Failure(LoadEnded()))

    async def _gone(self) -> None:
        # An abort is seen a turn of the reactor later, and its own call is done a turn after that.
        turns = 0
        while turns < MOST_TURNS and (self._connections or turns < 2):
            turn: Deferred[None] = Deferred()
            self.reactor.callLater(0, turn.callback, None)
            await turn
            turns += 1

    # -- clients ---------------------------------------------------------------------------

    async def keep(self, client: Callable[[Load], Awaitable[None]], at_once: int, per_second: float) -> None:
        """Keep ``at_once`` clients going, each anew when it has ended, and start at most ``per_second``."""
        at_once = max(1, round(at_once * self.scale))
        pause = 1 / (per_second * self.scale)
        turn = -pause  # the first begins at once

        async def one(place: int) -> None:
            nonlocal turn
            while not self.ended:
                turn = max(turn + pause, self.elapsed_seconds)
                await self.sleep(turn - self.elapsed_seconds)
                if not await self.life(client):
                    await self.sleep(AGAIN_SECONDS)

        await self.together([Deferred.fromCoroutine(one(place)) for place in range(at_once)])

    async def life(self, client: Callable[[Load], Awaitable[None]]) -> bool:
        """One client from beginning to end; what the network did to it is counted. False: it did not get far."""
        try:
            await client(self)
        except ConnectionEnded as end:
            self.count(str(end))
        except Refused:
            self.count("refused")
            return False
        return True

    async def together(self, all_of_them: list[Deferred[None]]) -> None:
        """Wait for all of them, also when one fails; then raise what the first that failed raised of its own."""
        failed: Exception | None = None
        for each in all_of_them:
            try:
                await each
            except LoadEnded:
                pass
            except Exception as error:
                failed = failed or error
                self.end()
        if failed is not None:
            raise failed

    def count(self, outcome: str) -> None:
        """Note what became of a client. Kinds are bounded: what a server says is not ours to keep."""
        if outcome not in self.outcomes and len(self.outcomes) >= MOST_OUTCOMES:
            outcome = "other"
        self.outcomes[outcome] += 1

    # -- waiting ---------------------------------------------------------------------------

    async def wait(self, deferred: Deferred[Any]) -> Any:
        """Await ``deferred``. Raises ``LoadEnded`` when the time is up first."""
        if self.ended:
            raise LoadEnded
        self._waits.add(deferred)
        try:
            return await deferred
        finally:
            self._waits.discard(deferred)

    async def sleep(self, seconds: float) -> None:
        """Raises ``LoadEnded`` when the time is up first."""
        if self.ended:
            raise LoadEnded
        woken: Deferred[None] = Deferred()
        call = self.reactor.callLater(max(0.0, seconds), woken.callback, None)
        try:
            await self.wait(woken)
        finally:
            if call.active():
                call.cancel()

    # -- connections -----------------------------------------------------------------------

    async def connect(self, alpn: bytes | None = None) -> Connection:
        """A new connection. Raises ``Refused``."""
        if self.ended:
            raise LoadEnded
        connecting = self._endpoint(alpn).connect(Factory.forProtocol(lambda: Connection(self)))
        self._connecting.add(connecting)
        try:
            connection: Connection = await connecting
        except (ConnectError, ConnectingCancelledError, ConnectionClosed, OSError, UserError) as error:
            if self._is_over():
                raise LoadEnded from None
            raise Refused(str(error)) from None
        finally:
            self._connecting.discard(connecting)
        if self._is_over():
            connection.reset()
            raise LoadEnded
        return connection

    def _endpoint(self, alpn: bytes | None) -> Any:
        where = self.where
        if where.tls:
            # Its certificate is nobody's business here: the server is one's own.
            from twisted.internet.ssl import CertificateOptions

            offered = CertificateOptions(verify=False, acceptableProtocols=[alpn or b"http/1.1"])
            return SSL4ClientEndpoint(self.reactor, where.host, where.port, offered, CONNECT_SECONDS)
        kind = TCP6ClientEndpoint if ":" in where.host else TCP4ClientEndpoint
        return kind(self.reactor, where.host, where.port, CONNECT_SECONDS)

    def opened(self, connection: Connection) -> None:
        """For ``Connection`` to say that it is there."""
        self.opened_count += 1
        self._connections[connection] = self.reactor.seconds()

    def closed(self, connection: Connection) -> None:
        """For ``Connection`` to say that it has gone."""
        since = self._connections.pop(connection, None)
        if since is not None and not self.ended:
            self.held_seconds = max(self.held_seconds, self.reactor.seconds() - since)
