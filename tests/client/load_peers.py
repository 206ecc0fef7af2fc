"""An origin over TLS and a proxy that closes, in a process of their own: ``python -m tests.client.load_peers FOLDER``.

The first line of output is JSON: the URLs, and the path of the certificate to trust. It ends with its standard input.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor, stdio
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import react

from hardhttp.testing.misbehaving import serve
from tests.client.trust import Trust


class UntilItEnds(Protocol):
    def __init__(self, ended: Deferred[None]) -> None:
        self._ended = ended

    def connectionLost(self, reason: Any = None) -> None:
        self._ended.callback(None)


async def work() -> None:
    trust = Trust(Path(sys.argv[1]))
    origin = serve(reactor, "sound", context=trust.server)
    proxy = serve(reactor, "tunnel-closing")
    print(json.dumps({"origin": origin.url, "proxy": proxy.url, "authority": str(trust.authority.path)}), flush=True)
    ended: Deferred[None] = Deferred()
    stdio.StandardIO(UntilItEnds(ended))
    await ended
    await proxy.stop()
    await origin.stop()


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(work()))
