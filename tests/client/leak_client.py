"""The client of the leak tests, in a process of its own, without the garbage collector.

    python -m tests.client.leak_client KIND REQUESTS FOLDER

It makes REQUESTS requests of a KIND against servers in the same process and prints one line of JSON: what the
collector finds afterwards, by type; how many KiB of memory came to stay after the first half; and what the
ledger holds once the agent is closed.
"""

from __future__ import annotations

import gc
import gzip
import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from hpack import Decoder
from OpenSSL.crypto import X509, PKey
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import Certificate, CertificateOptions, trustRootFromCertificates
from twisted.internet.task import deferLater
from twisted.web.client import readBody

from hardhttp.client import Agent, BytesBody, ClientLimits, ClientReason, DecodingAgent, RedirectAgent, reason_of
from hardhttp.wire.http2 import PREFACE, FrameCutter, Kind
from tests.certificates import Authority
from tests.client.rig2 import frame

TOGETHER = 10
WARM_REQUESTS = 200
GZIP = gzip.compress(b"hi")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n%b\r\nhi"
ANSWERS = {
    b"/kept": OK % b"",
    b"/closed": OK % b"Connection: close\r\n",
    b"/chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n",
    b"/two": OK % b"" + b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n",
    b"/bad": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"/cut": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi",
    b"/silent": b"",
    b"/moved": b"HTTP/1.1 302 Moved\r\nLocation: /kept\r\nContent-Length: 2\r\n\r\nhi",
    b"/gzip": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(GZIP) + GZIP,
}


class Answering(Protocol):
    """Answers whatever comes by its path."""

    def dataReceived(self, data: bytes) -> None:
        path = data.split(b" ", 2)[1]
        self.transport.write(ANSWERS[path])
        if path == b"/chunked":
            reactor.callLater(0, self.transport.write, b"1\r\ni\r\n0\r\n\r\n")
        elif path in (b"/closed", b"/cut"):
            self.transport.loseConnection()


async def _one(agent: Any, url: bytes, path: bytes) -> None:
    if path == b"/post":
        asked = agent.request(b"POST", url + b"/kept", None, BytesBody(b"body"))
    else:
        asked = agent.request(b"GET", url + path)
    if path == b"/silent":
        reactor.callLater(0, asked.cancel)
    try:
        response = await asked
        if path != b"/unread":
            await readBody(response)
    except Exception as error:
        # A server that leaves after each response has others move more often than they may.
        if path not in (b"/bad", b"/cut", b"/silent") and reason_of(error) != ClientReason.REFUSED:
            raise
        del error


def _resident_kib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4


async def _many(requests: int, one: Callable[[], Awaitable[None]]) -> None:
    async def some() -> None:
        for _ in range(requests // TOGETHER):
            await ensureDeferred(one())  # a coroutine ends with each, as in an application

    loops = [ensureDeferred(some()) for _ in range(TOGETHER)]
    for loop in loops:
        await loop


class Answering2(Protocol):
    """The same in HTTP/2."""

    closes = False

    def connectionMade(self) -> None:
        self.left = PREFACE
        self.cutter = FrameCutter()
        self.decoder = Decoder()
        self.transport.write(frame(Kind.SETTINGS, 0, 0))

    def dataReceived(self, data: bytes) -> None:
        skipped, self.left = len(self.left), self.left[len(data) :]
        asked = [(each[2], each[3][9:]) for each in self.cutter.cut(data[skipped:]) if each[0] == Kind.HEADERS]
        if self.closes:
            return
        for number, block in asked:
            self.answer(number, dict(self.decoder.decode(block, raw=True))[b":path"])
        if self.closes:
            self.transport.write(frame(Kind.GOAWAY, 0, 0, asked[-1][0].to_bytes(4) + bytes(4)))

    def answer(self, number: int, path: bytes) -> None:
        head = frame(Kind.HEADERS, 0x4, number, b"\x88")
        said = {
            b"/silent": b"",
            b"/bad": frame(Kind.HEADERS, 0x5, number, b""),
            b"/cut": head + frame(Kind.RST_STREAM, 0, number, b"\0\0\0\2"),
        }
        self.transport.write(said.get(path, head + frame(Kind.DATA, 1, number, b"hi")))
        self.closes = self.closes or path == b"/closed"


def _listen(kind: str, folder: Path) -> tuple[Any, Any, str]:
    http2 = kind.startswith("h2-")
    factory = Factory.forProtocol(Answering2 if http2 else Answering)
    factory.noisy = False
    if kind != "tls" and not http2:
        return reactor.listenTCP(0, factory, interface="127.0.0.1"), None, "http"
    authority = Authority(folder)
    issued = authority.issue("127.0.0.1")
    options = CertificateOptions(
        privateKey=PKey.from_cryptography_key(issued.private),
        certificate=X509.from_cryptography(issued.leaf),
        acceptableProtocols=[b"h2" if http2 else b"http/1.1"],
    )
    trust = trustRootFromCertificates([Certificate.loadPEM(authority.path.read_bytes())])
    return reactor.listenSSL(0, factory, options, interface="127.0.0.1"), trust, "https"


async def _measure(kind: str, requests: int, folder: Path) -> dict[str, Any]:
    listening, trust, scheme = _listen(kind, folder)
    agent = Agent(reactor, ClientLimits(first_byte_seconds=5, max_stream_resets=1_000_000), trust_root=trust)
    before = agent.ledger.snapshot()
    asked: Any = {"moved": RedirectAgent, "gzip": DecodingAgent}.get(kind, lambda agent: agent)(agent)
    url = f"{scheme}://127.0.0.1:{listening.getHost().port}".encode()
    path = b"/closed" if kind == "tls" else f"/{kind.removeprefix('h2-')}".encode()

    async def one() -> None:
        await _one(asked, url, path)

    if kind == "h2-silent":
        await _one(agent, url, b"/kept")  # what is cancelled then are streams
    await _many(WARM_REQUESTS, one)
    gc.collect()
    gc.disable()
    await _many(requests // 2, one)
    half = _resident_kib()
    await _many(requests // 2, one)
    end = _resident_kib()
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    found = Counter(type(each).__qualname__ for each in gc.garbage)
    gc.set_debug(0)
    gc.garbage.clear()
    await agent.close()
    await listening.stopListening()
    await deferLater(reactor, 0.05)
    after = agent.ledger.snapshot()
    return {
        "found": dict(found.most_common(10)),
        "grown_kib": end - half,
        "held": {name: after[name] for name in after if after[name] != before[name]},
        "calls": len(reactor.getDelayedCalls()),
        "statistics": agent.statistics.snapshot(),
    }


def main() -> None:
    kind, requests, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])

    def begin() -> None:
        done: Deferred[Any] = ensureDeferred(_measure(kind, requests, folder))
        done.addCallback(lambda result: print(json.dumps(result)))
        done.addErrback(lambda failure: failure.printTraceback())
        done.addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()


if __name__ == "__main__":
    main()
