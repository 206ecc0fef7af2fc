"""A site over TLS with the collector off, and clients of every kind; what they leave behind is printed as JSON.

python -m tests.tls_leak_server COUNT
"""

from __future__ import annotations

import gc
import json
import os
import socket
import ssl
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import globalLogBeginner
from twisted.web.resource import Resource

from hardhttp import Site, TLSPolicy, listen
from hardhttp.net.certificatestore import Certificates
from hardhttp.net.tlsendpoint import read_tls
from tests.certificates import Authority
from tests.leak_server import name_of

GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
SETTLED_SECONDS = 8.0


class Leaf(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        return str(request.client_certificate).encode()


def clients(port: int, authority: Authority, folder: Path, store: Certificates, count: int) -> None:
    """Each of them, ``count`` times; certificates are renewed in between."""
    own = authority.issue(common_name="ann").pem(folder / "ann.pem")
    contexts = [ssl.create_default_context(cafile=str(authority.path)) for _ in range(4)]
    _, shows, other, old = contexts
    shows.load_cert_chain(own)
    other.set_alpn_protocols(["imap"])
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    old.set_ciphers("AES128-SHA")
    for number in range(count):
        for context in contexts:
            raw = socket.create_connection(("127.0.0.1", port), 10)
            try:
                with context.wrap_socket(raw, server_hostname=("a.example", "b.example")[number % 2]) as secure:
                    secure.sendall(GET)
                    assert secure.recv(4096)
            except ssl.SSLError:
                raw.close()
        for words in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x10", b"\xff" * 50):
            with socket.create_connection(("127.0.0.1", port), 10) as raw:
                raw.sendall(words)
        if number % 10 == 0:
            authority.issue("a.example").certbot(folder / "live" / "a.example")
            reactor.callFromThread(store.refresh)  # type: ignore[attr-defined]


async def settled(site: Site) -> None:
    deadline = time.monotonic() + SETTLED_SECONDS
    while site.connection_count and time.monotonic() < deadline:
        await deferLater(reactor, 0.05)
    await deferLater(reactor, 0.05)


async def main(count: int) -> None:
    folder = Path(tempfile.mkdtemp())
    authority = Authority(folder)
    for name in ("a.example", "b.example"):
        authority.issue(name).certbot(folder / "live" / name)
    site = Site(Leaf(), reactor=reactor)
    policy = TLSPolicy(client_ca=str(authority.path), client_certificate="optional")
    where: Any = read_tls(f"tls:0:{folder}/live:interface=127.0.0.1", reactor, policy)
    listening = await listen(reactor, where, site)
    port = listening.getHost().port
    await deferToThread(clients, port, authority, folder, where.certificates, 2)  # what is made once, is made
    await settled(site)
    before = site.ledger.snapshot()
    gc.collect()
    gc.freeze()
    await deferToThread(clients, port, authority, folder, where.certificates, count)
    await settled(site)
    live = Counter(
        name_of(each) for each in gc.get_objects() if type(each).__module__.startswith(("hardhttp.net", "OpenSSL"))
    )
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    gc.set_debug(0)
    found = Counter(map(name_of, gc.garbage))
    await listening.stopListening()
    statistics = {str(reason): many for reason, many in site.statistics.closed.items() if many}
    same = site.ledger.snapshot() == before
    print(
        json.dumps({"live": live, "found": found, "closed": statistics, "ledger": same, "open": site.connection_count})
    )
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    globalLogBeginner.beginLoggingTo([lambda event: None], discardBuffer=True, redirectStandardIO=False)
    gc.disable()
    from twisted.internet.defer import ensureDeferred

    reactor.callWhenRunning(  # type: ignore[attr-defined]
        lambda: ensureDeferred(main(int(sys.argv[1]))).addErrback(
            lambda failure: (failure.printTraceback(), os._exit(1))
        )
    )
    reactor.run()  # type: ignore[attr-defined]
