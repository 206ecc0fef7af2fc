"""How the rows of ``table.py`` are measured: an agent, peers that misbehave, and patience.

A row is a coroutine function of a ``Trial``, which has an agent and makes peers. It returns what it measured: plain
values, such as bodies and numbers of connections. Beside it stands what a sound client measures, and what
``twisted.web.client.Agent`` measures (with treq, where a row needs more than an agent) if that is another thing.
``test_stock_agent.py`` holds the second, so that what is said of the stock agent stays true;
``test_client_table.py`` holds the first, on ``hardhttp.client.Agent``.

A row asks nothing of a client but ``IAgent``. For whatever it may come to, a client is given ``Trial.patience``:
turns of the reactor until a condition holds. A sound client of these tests has deadlines that are much shorter; the
stock agent has none, or minutes, so there is no use in waiting long for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import attrs
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.web.client import RedirectAgent, ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent

from hardhttp.testing.misbehaving import Peer, serve
from tests.client.trust import Trust

__all__ = ["FAILED", "MIB", "PENDING", "ROWS", "TURN_SECONDS", "Collects", "Kind", "Row", "Trial", "each", "row"]

FAILED: Final = "failed"
PENDING: Final = "pending"
# A timer that is further away than this is not a test's.
FAR_SECONDS = 30.0
MIB = 1024 * 1024
TURN_SECONDS = 0.002


@attrs.frozen
class Kind:
    """A kind of client. ``make`` is given the trust in the tests' authority and a proxy's URL or ``None``."""

    name: str
    make: Callable[[Trust, str | None], IAgent]
    close: Callable[[Any], Awaitable[None]]
    patience_turns: int
    # Wraps an agent in one that follows redirects.
    redirecting: Callable[[IAgent], IAgent] = RedirectAgent
    # A client that decodes, with the interface of treq's.
    decoding: Callable[[IAgent], Any] = HTTPClient


class Collects(Protocol):
    """Takes a body whole; ``ended`` fires with it, or with ``FAILED``."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.ended: Deferred[Any] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self._pieces.append(data)

    def connectionLost(self, reason: Any = None) -> None:
        self.ended.callback(b"".join(self._pieces) if reason.check(ResponseDone) else FAILED)


class Trial:
    """One row's work with one kind of client. ``end`` cancels what is in ``asked``, and stops all there is."""

    def __init__(self, kind: Kind, trust: Trust) -> None:
        self.kind, self.trust = kind, trust
        self._agents: list[Any] = []
        self._peers: list[Peer] = []
        self.asked: list[Deferred[Any]] = []

    def agent(self, proxy: str | None = None) -> IAgent:
        made = self.kind.make(self.trust, proxy)
        self._agents.append(made)
        return made

    def peer(self, behaviour: Any, *, tls: bool = False) -> Peer:
        peer = serve(reactor, behaviour, context=self.trust.server if tls else None)
        self._peers.append(peer)
        return peer

    def ask(self, agent: IAgent, url: str, method: bytes = b"GET", headers: Headers | None = None) -> Deferred[Any]:
        """A response, or ``FAILED``. If nobody waits for it any more, it is cancelled at the end."""
        asked = agent.request(method, url.encode("ascii"), headers)
        asked.addErrback(lambda failure: FAILED)
        self.asked.append(asked)
        return asked

    async def body(self, agent: IAgent, url: str) -> Any:
        """What a GET of ``url`` gives out, ``FAILED``, or ``PENDING`` if it comes to no end."""
        return await self.outcome(self._body(agent, url))

    async def _body(self, agent: IAgent, url: str) -> Any:
        response = await self.ask(agent, url)
        if response == FAILED:
            return FAILED
        collects = Collects()
        response.deliverBody(collects)
        return await collects.ended

    async def outcome(self, going: Awaitable[Any]) -> Any:
        """Its result, or ``PENDING``."""
        results: list[Any] = []
        work = Deferred.fromCoroutine(going) if not isinstance(going, Deferred) else going  # type: ignore[arg-type]
        work.addBoth(results.append)
        await self.patience(lambda: bool(results))
        return results[0] if results else PENDING

    async def patience(self, condition: Callable[[], bool], turns: int = 0) -> bool:
        """Whether ``condition()`` comes to hold."""
        for _ in range(turns or self.kind.patience_turns):
            if condition():
                return True
            await deferLater(reactor, TURN_SECONDS)
        return condition()

    def far_timers(self) -> int:
        """Timers that have far to go: a client keeps them for what it has forgotten."""
        return sum(
            call.getTime() - reactor.seconds() > FAR_SECONDS and "Conversation" not in repr(call.func)
            for call in reactor.getDelayedCalls()
        )

    async def end(self) -> None:
        for asked in self.asked:
            asked.cancel()
        for agent in self._agents:
            await self.kind.close(agent)
        for peer in self._peers:
            await peer.stop()


@attrs.frozen
class Row:
    """``measure`` returns ``sound`` on a sound client, and ``stock``, if it is not ``None``, on the stock agent."""

    name: str
    measure: Callable[[Trial], Awaitable[Any]]
    sound: Any
    stock: Any
    slow: bool = False


ROWS: Final[list[Row]] = []


def row(name: str, *, sound: Any, stock: Any, slow: bool = False) -> Callable[[Any], Any]:
    """Enter a row; entered several times with other arguments, it is several rows."""

    def enter(measure: Any) -> Any:
        ROWS.append(Row(name, measure, sound, stock, slow))
        return measure

    return enter


def each(names: str, *, sound: Any, stock: Any, slow: bool = False) -> Callable[[Any], Any]:
    """A row for each behaviour in ``names``: the function is given its name too."""

    def enter(measure: Any) -> Any:
        for name in names.split():
            ROWS.append(Row(name, lambda trial, name=name: measure(trial, name), sound, stock, slow))
        return measure

    return enter
