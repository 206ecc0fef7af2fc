"""An event source through a proxy's tunnel, over HTTPS, and what is left of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.ssl import Certificate, trustRootFromCertificates

from hardhttp.client import Agent, EventLimits, EventSource
from hardhttp.sse.history import MemoryHistory
from hardhttp.sse.hub import EventHub
from hardhttp.testing import misbehaving
from tests.net.loopback import Loopback, blocking, certificate, result_of, until
from tests.sse.subscribing import Subscribes

QUICK = EventLimits(retry_seconds=0.02, min_retry_seconds=0.02, max_retry_seconds=0.02)


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize("behaviour", ["tunnel", "tunnel-closing"])
@blocking
def test_through_a_tunnel(tmp_path: Path, behaviour: str, http2: bool) -> None:
    """The server hangs up, a new tunnel is made, nothing is missed.

    ``close`` ends the tunnel; over HTTP/2 it ends the stream, and the tunnel may serve others.
    """
    from twisted.internet import reactor

    path = certificate(tmp_path)
    trust_root = trustRootFromCertificates([Certificate.loadPEM(path.read_bytes())])
    hub = EventHub(reactor, history=MemoryHistory(reactor), heartbeat_seconds=None)
    proxy = misbehaving.serve(reactor, behaviour)
    options: dict[str, Any] = {"trust_root": trust_root, "proxy": proxy.url, "http2": http2}
    agent = Agent(reactor, **options)
    got: list[str] = []
    with Loopback(Subscribes(hub), certificate=path) as server:
        url = f"https://localhost:{server.address[1]}/?topic=t"
        source = EventSource(agent, url, clock=reactor, limits=QUICK, last_event_id="earliest")
        source.deliver(lambda event: got.append(event.data))
        for number in range(3):
            until(lambda: hub.subscriber_count == 1, "a subscriber")
            hub.publish("t", str(number))
            until(lambda: len(got) == number + 1, "an event")  # noqa: B023
            for channel in server.site.server.tracker:
                channel.transport.abortConnection()
            until(lambda: hub.subscriber_count == 0, "the end of the stream")
        until(lambda: hub.subscriber_count == 1, "a subscriber")
        assert got == ["0", "1", "2"]
        assert proxy.connections.ever == 4
        source.close()
        until(lambda: hub.subscriber_count == 0, "the end")
        kept = int(http2 and behaviour == "tunnel")
        until(lambda: agent.ledger.snapshot()["connections"] == kept, "the end of the tunnel")
        result_of(agent.close())
        until(lambda: not any(agent.ledger.snapshot().values()), "the end of all")
        result_of(Deferred.fromCoroutine(proxy.stop()))
