"""What clients do with a peer that misbehaves: one row for each behaviour, in the order of the facts they are for.

``sound`` is what a sound client measures, ``stock`` what ``twisted.web.client.Agent`` (or treq on it) measures, where
that is another thing. See ``trial.py`` for how.
"""

from __future__ import annotations

import socket
import threading
from typing import Any, Self

from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.web.http_headers import Headers

from hardhttp.testing.misbehaving.answers import FIRST, SECOND
from tests.client.trial import FAILED, MIB, PENDING, ROWS, TURN_SECONDS, Collects, Trial, each, row

__all__ = ["ROWS"]

# -- two answers, and answers at the wrong time


@each(
    "two-answers-in-one-segment two-answers-first-chunked answer-then-400",
    sound=([b"first", b"first"], 2),
    stock=([b"first", b"first"], 1),  # the second is dropped, the connection used again
)
async def two_answers(trial: Trial, name: str) -> Any:
    agent, peer = trial.agent(), trial.peer(name)
    bodies = [await trial.body(agent, peer.url) for _ in range(2)]
    return bodies, peer.connections.ever


@row("two-answers-in-pieces", sound=(b"first", 0), stock=None)
async def two_answers_in_pieces(trial: Trial) -> Any:
    """Whether the connection is closed when the second answer begins."""
    agent, peer = trial.agent(), trial.peer("two-answers-in-pieces")
    body = await trial.body(agent, peer.url)
    await trial.patience(lambda: peer.connections.open == 0)
    return body, peer.connections.open


@row("answer-to-the-next", sound=[b"1", b"1", b"1"], stock=None)
async def answer_to_the_next(trial: Trial) -> Any:
    """Each answer is there before its request: whoever takes it has the answer to somebody else's."""
    agent, peer = trial.agent(), trial.peer("answer-to-the-next")
    bodies = []
    for _ in range(3):
        bodies.append(await trial.body(agent, peer.url))
        sent = peer.connections.sent_bytes
        await trial.patience(lambda sent=sent: peer.connections.sent_bytes > sent)
        await deferLater(reactor, TURN_SECONDS)
    return bodies


@row("an answer ahead of its request", sound=[b"first", b"first"], stock=[b"first", b"second"])
async def ahead(trial: Trial) -> Any:
    """The second answer lies in the socket, unread as yet, when the next request looks for a connection."""
    agent = trial.agent()
    with Ahead() as server:
        bodies = [await trial.body(agent, server.url)]
        await deferLater(reactor, 0)  # the connection is at rest
        server.send_second()
        bodies.append(await trial.body(agent, server.url))
    return bodies


class Ahead:
    """A server in a thread, since it must send while the reactor does not turn."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._go, self._sent = threading.Event(), threading.Event()
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._go.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()
        for connection in self._connections:
            connection.close()

    def send_second(self) -> None:
        """Send it, and return when the kernel has it: it is at the client's end then."""
        self._go.set()
        assert self._sent.wait(5)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self._connections.append(connection)
            connection.recv(65_536)
            connection.sendall(FIRST)
            if not self._sent.is_set():
                self._go.wait(5)
                connection.sendall(SECOND)
                self._sent.set()


# -- when a connection is over


@each(
    "close-capital close-in-a-list http-1-0",
    sound=([b"first", b"first"], 2, 0),
    stock=([b"first", b"first"], 1, 1),
)
@each("close-in-two-fields", sound=([b"first", b"first"], 2, 0), stock=None)
async def tokens(trial: Trial, name: str) -> Any:
    agent, peer = trial.agent(), trial.peer(name)
    bodies = [await trial.body(agent, peer.url) for _ in range(2)]
    await trial.patience(lambda: peer.connections.open == 0)
    return bodies, peer.connections.ever, peer.connections.open


@each("idle-closed idle-reset", sound=(b"first", 0, 0), stock=(b"first", 0, 1))
async def idle(trial: Trial, name: str) -> Any:
    """How many timers are left of a connection that the server has ended."""
    agent, peer = trial.agent(), trial.peer(name)
    before = trial.far_timers()
    body = await trial.body(agent, peer.url)
    await trial.patience(lambda: peer.connections.open == 0)
    await trial.patience(lambda: trial.far_timers() <= before, 20)
    return body, peer.connections.open, trial.far_timers() - before


@row("caps", sound=True, stock=False)
async def caps(trial: Trial) -> Any:
    """Whether sixty requests at once are fewer than sixty connections (twisted#7614)."""
    agent, peer = trial.agent(), trial.peer("head-silent")
    for _ in range(60):
        trial.ask(agent, peer.url)
    return not await trial.patience(lambda: peer.connections.open == 60, 60)


@row("body-large, dropped", sound=0, stock=1)
async def dropped(trial: Trial) -> Any:
    """Connections that are left when the response has come and nobody reads its body."""
    agent, peer = trial.agent(), trial.peer("body-large")
    await trial.outcome(trial.ask(agent, peer.url))
    await trial.patience(lambda: peer.connections.open == 0)
    return peer.connections.open


# -- deadlines


@each("head-silent", sound=(FAILED, 0), stock=(PENDING, 1))
@each("head-half head-trickled", sound=(FAILED, 0), stock=(PENDING, 1), slow=True)
async def no_head(trial: Trial, name: str) -> Any:
    agent, peer = trial.agent(), trial.peer(name)
    outcome = await trial.body(agent, peer.url)
    await trial.patience(lambda: peer.connections.open == 0)
    return outcome, peer.connections.open


@each("body-trickled", sound=(FAILED, 0), stock=(PENDING, 1))
@each("body-silent", sound=(FAILED, 0), stock=(PENDING, 1), slow=True)
async def no_body(trial: Trial, name: str) -> Any:
    agent, peer = trial.agent(), trial.peer(name)
    outcome = await trial.body(agent, peer.url)
    await trial.patience(lambda: peer.connections.open == 0)
    return outcome, peer.connections.open


@row("body-trickled, treq's timeout", sound=FAILED, stock=PENDING)
async def timeout_of_treq(trial: Trial) -> Any:
    """treq's ``timeout`` ends with the head; what a client has of its own goes on."""
    agent, peer = trial.agent(), trial.peer("body-trickled")

    async def read() -> Any:
        response = await HTTPClient(agent).get(peer.url, timeout=0.05)
        content = response.content()
        trial.asked.append(content)
        return await content.addErrback(lambda failure: FAILED)

    return await trial.outcome(read())


@row("head-silent, treq's timeout of 0", sound=FAILED, stock=PENDING)
async def no_timeout_of_treq(trial: Trial) -> Any:
    """To treq 0 is no timeout at all. A client's own deadlines hold, or 0 is an error."""
    agent, peer = trial.agent(), trial.peer("head-silent")
    try:
        asked = trial.kind.decoding(agent).get(peer.url, timeout=0)
    except ValueError:
        return FAILED
    trial.asked.append(asked)
    return await trial.outcome(asked.addErrback(lambda failure: FAILED))


# -- framing and bounds


@each("body-short body-without-last-chunk", sound=FAILED, stock=None)
async def half_a_body(trial: Trial, name: str) -> Any:
    return await trial.body(trial.agent(), trial.peer(name).url)


@each("chunk-line-endless trailers-endless", sound=(FAILED, 0), stock=None)
async def beside_the_body(trial: Trial, name: str) -> Any:
    agent, peer = trial.agent(), trial.peer(name)
    outcome = await trial.body(agent, peer.url)
    await trial.patience(lambda: peer.connections.open == 0)
    return outcome, peer.connections.open


@each("fields-20000 informational-200000", sound=(FAILED, 0), stock=(b"hello", 1), slow=True)
@each("head-endless two-lengths", sound=(FAILED, 0), stock=None)
@each("field-20mb", sound=(FAILED, 0), stock=None, slow=True)
async def too_much_head(trial: Trial, name: str) -> Any:
    agent, peer = trial.agent(), trial.peer(name)
    results: list[Any] = []
    Deferred.fromCoroutine(trial._body(agent, peer.url)).addBoth(results.append)
    await trial.patience(lambda: bool(results), 20_000)
    await trial.patience(lambda: peer.connections.open == 0)
    return results[0], peer.connections.open


class Counts(Protocol):
    """Counts what is given out."""

    def __init__(self, most: int) -> None:
        self.size, self._most = 0, most
        self.ended = False

    def dataReceived(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > self._most and self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]

    def connectionLost(self, reason: Any = None) -> None:
        self.ended = True


@row("body-endless", sound=True, stock=False)
async def endless(trial: Trial) -> Any:
    """Whether a body that does not end is given out up to a bound of the client's own, which is a MiB here."""
    agent, peer = trial.agent(), trial.peer("body-endless")
    response = await trial.ask(agent, peer.url)
    counts = Counts(8 * MIB)
    response.deliverBody(counts)
    await trial.patience(lambda: counts.ended, 5000)
    return counts.size <= 2 * MIB


@each("bomb-gzip", sound=True, stock=False, slow=True)
@each("bomb-deflate bomb-br bomb-zstd", sound=True, stock=None, slow=True)
async def bomb(trial: Trial, name: str) -> Any:
    """Whether 300 MiB that were some hundred kB on the way are given out up to a bound, which is a MiB here."""
    peer = trial.peer(name)
    response = await trial.kind.decoding(trial.agent()).get(peer.url, unbuffered=True)
    counts = Counts(8 * MIB)
    response.deliverBody(counts)
    await trial.patience(lambda: counts.ended, 5000)
    return counts.size <= 2 * MIB


# -- redirects


@row("redirect-chain", sound=(b"arrived", True), stock=(b"arrived", False))
async def redirects(trial: Trial) -> Any:
    """Whether ten redirects are fewer than eleven connections (twisted#6752)."""
    agent, peer = trial.agent(), trial.peer("redirect-chain")
    body = await trial.body(trial.kind.redirecting(agent), peer.url)
    return body, peer.connections.ever < 11


@row("redirect-loop", sound=(FAILED, 0), stock=(FAILED, 21))
async def loop(trial: Trial) -> Any:
    """How many connections are left in use when a circle of redirects has been given up."""
    agent, peer = trial.agent(), trial.peer("redirect-loop")
    asked = trial.ask(trial.kind.redirecting(agent), peer.url)
    outcome = await trial.outcome(asked)
    await trial.patience(lambda: peer.connections.open <= 1)
    return outcome, peer.connections.open if peer.connections.open > 1 else 0


@row("redirect-with-endless-body", sound=(b"arrived", True), stock=(b"arrived", False))
async def endless_redirect(trial: Trial) -> Any:
    """Whether the connection whose body does not end is closed when the redirect is followed."""
    agent, peer = trial.agent(), trial.peer("redirect-with-endless-body")
    body = await trial.body(trial.kind.redirecting(agent), peer.url)
    return body, await trial.patience(lambda: peer.connections.open <= 1)


@row("redirect-across-origins", sound=(b"arrived", []), stock=None)
async def across_origins(trial: Trial) -> Any:
    """Which credentials another origin is given."""
    agent, peer = trial.agent(), trial.peer("redirect-across-origins")
    secrets = {b"Authorization": [b"secret"], b"Cookie": [b"secret"], b"Proxy-Authorization": [b"secret"]}
    response = await trial.ask(trial.kind.redirecting(agent), peer.url, headers=Headers(secrets))
    collects = Collects()
    response.deliverBody(collects)
    body = await trial.outcome(collects.ended)
    (there,) = (asked for asked in peer.requests if asked.elsewhere)
    return body, [name for name, value in there.fields if value == b"secret"]


@row("redirect-to-a-file", sound=FAILED, stock=None)
async def to_a_file(trial: Trial) -> Any:
    agent, peer = trial.agent(), trial.peer("redirect-to-a-file")
    return await trial.body(trial.kind.redirecting(agent), peer.url)


# -- proxies


@row("https through a proxy", sound=(b"CONNECT", False), stock=(b"GET", True))
async def in_clear(trial: Trial) -> Any:
    """What a proxy is asked for an https URL, and whether it reads the request's fields."""
    proxy = trial.peer("connect-407-held")
    agent = trial.agent(proxy.url)
    await trial.outcome(trial.ask(agent, "https://127.0.0.1:9/secret", headers=Headers({b"Cookie": [b"secret"]})))
    (asked,) = proxy.requests
    return asked.method, asked.get(b"cookie") is not None


@each("connect-407-held connect-refused-endlessly connect-with-body", sound=(FAILED, 0), stock=None)
@each("connect-silent", sound=(FAILED, 0), stock=None)
@each("connect-half connect-trickled tunnel-silent", sound=(FAILED, 0), stock=None, slow=True)
@each("connect-cut connect-reset connect-endless connect-informational tunnel-reset", sound=(FAILED, 0), stock=None)
@each("connect-early", sound=(FAILED, 0), stock=None)
@each("socks-refused-held socks-no-way socks-wrong-password socks-unoffered socks-cut", sound=(FAILED, 0), stock=None)
@each("socks-early socks-other-version socks-silent", sound=(FAILED, 0), stock=None)
@each("socks-half socks-trickled", sound=(FAILED, 0), stock=None, slow=True)
async def no_tunnel(trial: Trial, name: str) -> Any:
    """The stock agent makes no tunnel at all; that is a row of its own."""
    proxy = trial.peer(name)
    agent = trial.agent(proxy.url.replace("://", "://user:hunter2@"))
    outcome = await trial.outcome(trial.ask(agent, "https://127.0.0.1:9/"))
    await trial.patience(lambda: proxy.connections.open == 0)
    return outcome, proxy.connections.open


@each("tunnel tunnel-closing socks", sound=[b"hello"] * 3, stock=None)
async def through_a_tunnel(trial: Trial, name: str) -> Any:
    origin, proxy = trial.peer("sound", tls=True), trial.peer(name)
    agent = trial.agent(proxy.url)
    return [await trial.body(agent, origin.url) for _ in range(3)]


@row("many at once through a closing tunnel", sound=(12, 0), stock=None)
async def twelve(trial: Trial) -> Any:
    """Twelve at once, and what the proxy still holds when they are done."""
    origin, proxy = trial.peer("sound", tls=True), trial.peer("tunnel-closing")
    agent = trial.agent(proxy.url)
    bodies = await gatherResults([Deferred.fromCoroutine(trial.body(agent, origin.url)) for _ in range(12)])
    await trial.patience(lambda: proxy.connections.open == 0)
    return bodies.count(b"hello"), proxy.connections.open
