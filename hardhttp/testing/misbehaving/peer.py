"""A peer that misbehaves: a listening socket on loopback, and what became of those who came.

    peer = serve(reactor, "connect-silent")
    ...                               # try a client with peer.url
    assert peer.connections.open == 0
    await peer.stop()

``stop`` leaves nothing behind: no port, no connection, no timer, and no coroutine that waits. A peer keeps the last
``KEPT_REQUESTS`` requests and figures of its connections, nothing else.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory

from hardhttp.testing.misbehaving.catalogue import CATALOGUE, Behaviour, Role, Talk
from hardhttp.testing.misbehaving.conversation import Asked, Conversation

__all__ = ["Connections", "Peer", "serve"]

KEPT_REQUESTS: Final = 1000
MAX_SECONDS: Final = 120.0
MAX_BYTES: Final = 64 * 1024 * 1024
MAX_CONNECTIONS: Final = 1000
BACKLOG: Final = MAX_CONNECTIONS  # past it the kernel lets clients wait for a second


@attrs.define
class Connections:
    """How many there are ``open`` now, how many there have been ``ever``, and the bytes of all of them."""

    open: int = 0
    ever: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0


class _Conversations(Factory):
    noisy = False

    def __init__(self, peer: Peer, elsewhere: bool) -> None:
        self.peer, self.elsewhere = peer, elsewhere

    def buildProtocol(self, addr: Any) -> Conversation:
        return Conversation(self.peer, self.elsewhere)


class Peer:
    """What ``serve`` gives. It listens at ``port``; ``requests`` are the last ones, the newest at the end."""

    def __init__(
        self,
        reactor: Any,
        behaviour: Talk,
        context: Any = None,
        port: int = 0,
        max_seconds: float = MAX_SECONDS,
        max_bytes: int = MAX_BYTES,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self.reactor, self.behaviour = reactor, behaviour
        self.max_seconds, self.max_bytes, self.max_connections = max_seconds, max_bytes, max_connections
        self.connections = Connections()
        self.requests: deque[Asked] = deque(maxlen=KEPT_REQUESTS)
        self._context = context
        self._talking: dict[Conversation, None] = {}
        self._empty: list[Deferred[None]] = []
        self._port = self._listen(port, elsewhere=False)
        self._elsewhere: Any = None
        self.port = int(self._port.getHost().port)

    def _listen(self, port: int, *, elsewhere: bool) -> Any:
        factory = _Conversations(self, elsewhere)
        if self._context is None:
            return self.reactor.listenTCP(port, factory, BACKLOG, "127.0.0.1")
        return self.reactor.listenSSL(port, factory, self._context, BACKLOG, "127.0.0.1")

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT/``; ``https`` where it was given a context, ``socks5`` where that is spoken."""
        return self._url(self.port)

    @property
    def elsewhere_url(self) -> str:
        """The same peer at another port, which makes it another origin. It is opened when it is first asked for."""
        if self._elsewhere is None:
            self._elsewhere = self._listen(0, elsewhere=True)
        return self._url(self._elsewhere.getHost().port)

    def _url(self, port: int) -> str:
        role = getattr(self.behaviour, "role", Role.ORIGIN)  # a function may be given too
        scheme = "socks5" if role is Role.SOCKS else "https" if self._context else "http"
        return f"{scheme}://127.0.0.1:{port}/"

    async def stop(self) -> None:
        """Close the port and reset all connections; return when all are gone. It may be called twice."""
        ports, self._elsewhere = [self._port, self._elsewhere], None
        for port in ports:
            if port is not None:
                stopped = port.stopListening()
                if stopped is not None:
                    await stopped
        for talk in list(self._talking):
            talk.reset()
        if self._talking:
            empty: Deferred[None] = Deferred()
            self._empty.append(empty)
            await empty

    # -- for conversations

    def admit(self, talk: Conversation) -> bool:
        """Whether there is room for one more."""
        self.connections.ever += 1
        self.connections.open += 1
        self._talking[talk] = None
        return self.connections.open <= self.max_connections

    def lost(self, talk: Conversation) -> None:
        del self._talking[talk]
        self.connections.open -= 1
        if not self._talking:
            empty, self._empty = self._empty, []
            for waiting in empty:
                waiting.callback(None)


def serve(
    reactor: Any,
    behaviour: str | Talk,
    *,
    context: Any = None,
    port: int = 0,
    max_seconds: float = MAX_SECONDS,
    max_bytes: int = MAX_BYTES,
    max_connections: int = MAX_CONNECTIONS,
) -> Peer:
    """Behave so on 127.0.0.1, at a free port unless ``port`` says which.

    ``behaviour`` is a name in ``CATALOGUE``, or any coroutine function of a ``Conversation``. With ``context`` (an
    ``IOpenSSLContextFactory``) it speaks TLS. A connection is reset after ``max_seconds``, or ``max_bytes`` sent;
    past ``max_connections`` open ones a new one is reset at once. Raises ``LookupError`` for a name that is not
    there, and ``ImportError`` for a behaviour that needs what is not installed.
    """
    talk = CATALOGUE.get(behaviour) if isinstance(behaviour, str) else behaviour
    if talk is None:
        raise LookupError(f"no behaviour is called {behaviour!r}; there are: {', '.join(sorted(CATALOGUE))}")
    if isinstance(talk, Behaviour) and not talk.is_possible:
        raise ImportError(f"{talk.name} needs {talk.needs}, which is not installed for {sys.executable}")
    return Peer(reactor, talk, context, port, max_seconds, max_bytes, max_connections)
