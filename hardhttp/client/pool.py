"""Connections, and who waits for them.

A ``Host`` is one scheme, host and port: its connections and its queue. It is in the table only while it
has either. A place is taken when a connection begins to be made and given back when its socket is gone,
so the caps hold for what really is open. When no place is free a request waits, in a queue that is
bounded in length and in time; what becomes free goes to whoever has waited longest among those that
may have it.

A kept connection serves the request that comes next, the one used last first; the others grow old and
are closed. One that has anything to read is not used again: nobody has asked it.

A connection that turns out to speak HTTP/2 is shared: whatever its host is asked goes to it, as far as it has room,
before another is made; and of a host that is known to speak it, one that is being made is waited for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from hardhttp.client.connection import Connection
from hardhttp.client.deadlines import Deadlines
from hardhttp.client.endpoints import Route
from hardhttp.client.errors import (
    AgentClosed,
    ClientReason,
    ConnectTimeout,
    NoResponse,
    QueueFull,
    QueueTimeout,
    ResponseTimeout,
)
from hardhttp.client.exchange import Exchange, Stage
from hardhttp.client.host import Host, Key
from hardhttp.client.http1 import Connection1
from hardhttp.client.limits import ClientLimits
from hardhttp.client.phase import Phase
from hardhttp.client.statistics import ClientStatistics
from hardhttp.net.ledger import Ledger

if TYPE_CHECKING:
    from hardhttp.client.http2 import Connection2

__all__ = ["Pool"]

# How many hosts are remembered to speak HTTP/2.
MAX_MULTIPLEXING = 256


class _Factory(Factory):
    """Makes the pool's connections."""

    noisy = False

    def __init__(self, pool: Pool, kind: Callable[[Pool], Connection]) -> None:
        self._pool = pool
        self._kind = kind

    def buildProtocol(self, addr: IAddress | None = None) -> Any:
        return self._kind(self._pool)


class Pool:
    """All connections of one agent."""

    def __init__(
        self,
        clock: IReactorTime,
        limits: ClientLimits,
        http2: Callable[[Pool], Connection2] | None = None,
        *,
        prior_knowledge: bool = False,
    ) -> None:
        self.seconds = clock.seconds
        self.limits = limits
        self.deadlines = Deadlines(clock)
        self.statistics = ClientStatistics()
        self.ledger = Ledger()
        self.live = 0
        self._number = 0
        self._http2 = http2
        self._factory = _Factory(self, Connection1)
        self._factory2 = None if http2 is None or not prior_knowledge else _Factory(self, http2)
        self._multiplexing: dict[Key, None] = {}  # who spoke HTTP/2 lately, while there is no ``Host``
        self._hosts: dict[Key, Host] = {}
        self._resting: dict[Connection, None] = {}  # of all hosts, longest at rest first
        self._connections: dict[Connection, None] = {}
        self._dialing: dict[Exchange, None] = {}
        self._hungry: dict[Host, None] = {}  # those with a queue
        self._queued = 0
        self._filling = False  # places that are free are being given out
        self._ended: Deferred[None] | None = None
        for kind, count in (
            ("connections", lambda: self.live),
            ("dialing", lambda: len(self._dialing)),
            ("idle_connections", lambda: len(self._resting)),
            ("hosts", lambda: len(self._hosts)),
            ("queued", lambda: self._queued),
            ("waits", lambda: len(self.deadlines)),
            ("timers", lambda: self.deadlines.timers),
        ):
            self.ledger.gauge(kind, count)

    # -- the agent's side -----------------------------------------------------------------------

    def host(self, key: Key) -> Host | None:
        return self._hosts.get(key)

    def submit(self, exchange: Exchange, key: Key, route: Route) -> None:
        """Serve ``exchange``: by a kept connection, a new one, or later."""
        host = self._hosts.get(key)
        if host is None:
            host = self._hosts[key] = Host(key, route)
            host.multiplexes = key in self._multiplexing
        self._number += 1
        exchange.number = self._number
        exchange.pool, exchange.host = self, host
        total = exchange.limits.total_seconds
        if total is not None:
            exchange.due = self.seconds() + total
        if host.shared and self._share(exchange, host):
            return
        while host.resting and not host.waiting and not host.shared:
            connection, _ = host.resting.popitem()
            del self._resting[connection]
            if connection.clean:
                self.statistics.reused += 1
                connection.start(exchange)
                return
            connection.abort_with(ClientReason.UNASKED)
        self._dial_or_queue(exchange, host)

    def again(self, exchange: Exchange, besides: Connection2 | None = None) -> None:
        """A kept connection was gone when ``exchange`` was sent over it: once more, over another one."""
        host = exchange.host
        exchange.moves += 1
        exchange.connection = None
        if host is None:
            return
        # Its last connection gone, it is not in the table any more; and somebody may have asked the same one since.
        host = exchange.host = self._hosts.setdefault(host.key, host)
        if host.shared and self._share(exchange, host, besides):
            return
        self._dial_or_queue(exchange, host)

    def cancelled(self, exchange: Exchange) -> None:
        """Nobody waits for ``exchange`` any more."""
        self._withdraw(exchange)

    def overdue(self, exchange: Exchange, now: float) -> None:
        """``exchange`` has waited too long for a connection."""
        queued = exchange.stage is Stage.QUEUED
        error: Exception
        if now >= exchange.due:
            error = ResponseTimeout(ClientReason.TOTAL_SECONDS, "it took longer than total_seconds")
        elif queued:
            error = QueueTimeout(ClientReason.QUEUE_SECONDS, "no connection came free within queue_seconds")
        else:
            error = ConnectTimeout(ClientReason.CONNECT_SECONDS, "no connection within connect_seconds")
        self._withdraw(exchange, error)

    def _withdraw(self, exchange: Exchange, error: Exception | None = None) -> None:
        """Take ``exchange`` out of wherever it is; then tell it why."""
        stage, host, dial, connection = exchange.stage, exchange.host, exchange.dial, exchange.connection
        exchange.stage = Stage.DONE
        self.deadlines.remove(exchange)
        if stage is Stage.QUEUED and host is not None:
            self._unqueue(exchange, host)
            self._tidy(host)
        elif stage is Stage.DIALING and dial is not None:
            dial.cancel()
        elif stage is Stage.CONNECTED and connection is not None:
            connection.cancel()
        if error is not None:
            exchange.fail(error)
        else:
            exchange.fail(AgentClosed(ClientReason.CANCELLED, "the request was cancelled"))

    def close(self) -> Deferred[None]:
        """End everything: who waits, who is being served, who is at rest. Fires when all of it is gone."""
        error = "the agent has been closed"
        for exchange in [*(e for host in self._hungry for e in host.waiting), *self._dialing]:
            self._withdraw(exchange, AgentClosed(ClientReason.AGENT_CLOSED, error))
        for connection in list(self._connections):
            if connection in self._resting:
                self._wake(connection)
                connection.close(ClientReason.AGENT_CLOSED)
            else:
                connection.end(ClientReason.AGENT_CLOSED)
        ended: Deferred[None] = Deferred()
        self._ended = ended
        self._if_ended()
        return ended

    def _if_ended(self) -> None:
        ended = self._ended
        if ended is not None and not self.live:
            self._ended = None
            ended.callback(None)

    # -- the connections' side ------------------------------------------------------------------

    def freed(self, connection: Connection) -> None:
        """A connection has served, and may serve again."""
        host = connection.host
        if host is None:
            return
        other = self._hungriest(host) if self.live >= self.limits.max_connections and self._hungry else None
        if host.waiting and (other is None or host.oldest < other.oldest):
            if connection.clean:
                exchange = next(iter(host.waiting))
                self._unqueue(exchange, host)
                self.deadlines.remove(exchange)
                self.statistics.reused += 1
                connection.start(exchange)
            else:
                connection.abort_with(ClientReason.UNASKED)
        elif other is not None:
            connection.close(ClientReason.EVICTED)
        else:
            self._rest(connection, host)

    def _rest(self, connection: Connection, host: Host) -> None:
        limits = self.limits
        host.resting[connection] = None
        self._resting[connection] = None
        connection.rest(self.seconds() + limits.idle_connection_seconds)
        if len(self._resting) > limits.max_idle_connections:
            longest = next(iter(self._resting))
            self._wake(longest)
            longest.close(ClientReason.IDLE_COUNT)

    def expired(self, connection: Connection) -> None:
        """A connection has been at rest for long enough."""
        self._wake(connection)
        connection.close(ClientReason.IDLE_SECONDS)

    def leaving(self, connection: Connection) -> None:
        """A connection is being closed, or will be: it serves nobody any more."""
        self._wake(connection)
        if connection.host is not None:
            connection.host.shared.pop(connection, None)  # type: ignore[call-overload]

    def lost(self, connection: Connection) -> None:
        """A connection's socket is gone: everything it held is released here, and nowhere else."""
        self.leaving(connection)
        self.deadlines.remove(connection)
        self.ledger.release(connection)
        self._connections.pop(connection, None)
        host, connection.host = connection.host, None
        if host is not None:
            self.statistics.closed[connection.reason.value] += 1
            host.settling -= not connection.settled
            self._give_back(host)

    def _wake(self, connection: Connection) -> None:
        """It is not at rest any more."""
        if connection in self._resting:
            del self._resting[connection]
            if connection.host is not None:
                del connection.host.resting[connection]

    # -- HTTP/2 -----------------------------------------------------------------------------------

    def successor(self, transport: Any) -> Connection2 | None:
        """Who takes over what a handshake has agreed on; ``None``: nobody, it is HTTP/1.1."""
        if self._http2 is None or getattr(transport, "negotiatedProtocol", None) != b"h2":
            return None
        return self._http2(self)

    def settled(self, connection: Connection) -> None:
        """A new connection speaks HTTP/1.1."""
        host = connection.host
        if host is None:
            return
        host.settling -= 1
        if host.multiplexes:
            host.multiplexes = False
            self._multiplexing.pop(host.key, None)
            self._dial_hungry()

    def becomes(self, old: Connection, new: Connection2) -> None:
        """``new`` has the transport of ``old``."""
        new.host, old.host = old.host, None
        del self._connections[old]
        self.deadlines.remove(old)
        self._connections[new] = None

    def shares(self, connection: Connection2) -> None:
        """A new connection speaks HTTP/2: whoever waits for one to its host may have it."""
        host = connection.host
        if host is None or connection.settled:
            return
        connection.settled = host.multiplexes = True
        host.settling -= 1
        self._multiplexing.pop(host.key, None)
        self._multiplexing[host.key] = None
        if len(self._multiplexing) > MAX_MULTIPLEXING:
            del self._multiplexing[next(iter(self._multiplexing))]
        host.shared[connection] = None
        for exchange in [each for each in self._dialing if each.host is host]:
            dial = exchange.dial
            if connection.has_room and dial is not None:
                exchange.dial = None
                connection.start(exchange)
                dial.cancel()
        self.has_room(connection)

    def has_room(self, connection: Connection2) -> None:
        """It may take more streams: those that wait, or else it is at rest."""
        host = connection.host
        if host is None or connection not in host.shared:
            return
        while host.waiting and connection.has_room:
            exchange = next(iter(host.waiting))
            self._unqueue(exchange, host)
            self.deadlines.remove(exchange)
            self.statistics.reused += 1
            connection.start(exchange)
        if connection.streams or connection in self._resting or connection.phase is not Phase.IDLE:
            return
        if self.live >= self.limits.max_connections and self._hungry and self._hungriest(host) is not None:
            connection.close(ClientReason.EVICTED)
        elif any(other is not connection and other.has_room for other in host.shared):
            connection.close(ClientReason.SPARE)
        else:
            self._rest(connection, host)

    def _share(self, exchange: Exchange, host: Host, besides: Connection2 | None = None) -> bool:
        """Whether a connection that is there has taken ``exchange``."""
        for connection in [*host.shared]:
            if connection is besides or not connection.has_room:
                continue
            if connection.clean:
                self._wake(connection)
                self.statistics.reused += 1
                connection.start(exchange)
                return True
            connection.abort_with(ClientReason.PEER_CLOSED)
        return False

    # -- places ---------------------------------------------------------------------------------

    def _dial_or_queue(self, exchange: Exchange, host: Host) -> None:
        limits = self.limits
        room = host.has_place(limits) and not host.waiting
        if room and self.live < limits.max_connections:
            self._dial(exchange, host)
            return
        if room and self._resting:
            # Another host's connection, at rest for longest, makes room.
            longest = next(iter(self._resting))
            self._wake(longest)
            longest.close(ClientReason.EVICTED)
        elif self._queued >= limits.max_queued:
            self._tidy(host)
            exchange.fail(QueueFull(ClientReason.QUEUE_FULL, f"{limits.max_queued} requests wait already"))
            return
        exchange.stage = Stage.QUEUED
        exchange.deadline = min(exchange.due, self.seconds() + exchange.limits.queue_seconds)
        host.waiting[exchange] = None
        self._hungry[host] = None
        self._queued += 1
        self.deadlines.add(exchange)

    def _unqueue(self, exchange: Exchange, host: Host) -> None:
        del host.waiting[exchange]
        self._queued -= 1
        if not host.waiting:
            del self._hungry[host]

    def _dial(self, exchange: Exchange, host: Host) -> None:
        host.live += 1
        host.settling += 1
        self.live += 1
        exchange.stage = Stage.DIALING
        exchange.deadline = min(exchange.due, self.seconds() + host.route.connect_seconds(exchange.limits))
        self._dialing[exchange] = None
        self.deadlines.add(exchange)
        try:
            factory = self._factory
            if self._factory2 is not None and host.key[0] != "https" and not host.route.absolute_form:
                factory = self._factory2
            dial = host.route.endpoint.connect(factory)
        except Exception:
            self._undialed(Failure(), exchange, host)
            return
        exchange.dial = dial
        dial.addCallbacks(self._dialed, self._undialed, callbackArgs=(exchange, host), errbackArgs=(exchange, host))

    def _dialed(self, connection: Connection, exchange: Exchange, host: Host) -> None:
        """There is a connection."""
        exchange.dial = None
        del self._dialing[exchange]
        self.deadlines.remove(exchange)
        if connection.phase is Phase.CLOSED:
            host.settling -= 1
            self._give_back(host)
            exchange.fail(NoResponse(ClientReason.NO_RESPONSE, "the connection ended as soon as it was made"))
            return
        self.statistics.opened += 1
        connection.host = host
        self._connections[connection] = None
        if exchange.stage is not Stage.DIALING:
            connection.abort_with(ClientReason.CANCELLED)
        else:
            connection.start(exchange)

    def _undialed(self, failure: Failure, exchange: Exchange, host: Host) -> None:
        """There is none."""
        exchange.dial = None
        del self._dialing[exchange]
        self.deadlines.remove(exchange)
        waits = exchange.stage is Stage.DIALING
        host.settling -= 1
        self._give_back(host)
        failure.cleanFailure()
        if waits:
            exchange.fail(failure)

    def _give_back(self, host: Host) -> None:
        """A place is free."""
        host.live -= 1
        self.live -= 1
        self._tidy(host)
        self._dial_hungry()
        self._if_ended()

    def _dial_hungry(self) -> None:
        """Make connections for those that wait, as far as there are places."""
        if self._filling:
            return  # attempts that fail at once come here again, and would go deeper with each
        self._filling = True
        try:
            self._fill()
        finally:
            self._filling = False

    def _fill(self) -> None:
        """Give the places that are free to those who wait."""
        while self._hungry and self.live < self.limits.max_connections:
            host = self._hungriest(None)
            if host is None:
                break
            exchange = next(iter(host.waiting))
            self._unqueue(exchange, host)
            self.deadlines.remove(exchange)
            self._dial(exchange, host)

    def _hungriest(self, besides: Host | None) -> Host | None:
        """Whose first request has waited longest, among the hosts that may have one more connection."""
        able = [host for host in self._hungry if host is not besides and host.has_place(self.limits)]
        return min(able, key=lambda host: host.oldest, default=None)

    def _tidy(self, host: Host) -> None:
        """Forget a host without connections and requests."""
        if not host.live and not host.waiting and self._hosts.get(host.key) is host:
            del self._hosts[host.key]
