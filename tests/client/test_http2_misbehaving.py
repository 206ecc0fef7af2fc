"""What a sound client does with each server that speaks HTTP/2 badly, the agent does; and it holds nothing then."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.web.client import readBody

from hardhttp.client import Agent, BytesBody, ClientLimits, reason_of
from hardhttp.client.http2 import MAX_MOVES
from hardhttp.testing.misbehaving import CATALOGUE, Role, serve

SHORT_SECONDS = 0.1
LIMITS = ClientLimits(
    settings_seconds=SHORT_SECONDS,
    first_byte_seconds=SHORT_SECONDS,
    body_idle_seconds=SHORT_SECONDS,
    idle_connection_seconds=SHORT_SECONDS,
    max_body_bytes=1 << 20,
)
# Why the request fails, and how many connections there were.
ENDS = {
    "h2-sound": (None, 1),
    "h2-settings-never": ("settings-seconds", 1),
    "h2-head-silent": ("first-byte-seconds", 1),
    "h2-body-silent": ("body-bytes-per-second", 1),
    "h2-window-shut": ("send-seconds", 1),
    "h2-goaway-always": ("refused-stream", MAX_MOVES + 1),
    "h2-refuses-always": ("refused-stream", 2),
    "h2-reset-in-the-body": ("stream-reset", 1),
    "h2-push": ("bad-frame", 1),
    "h2-body-beyond-the-window": ("body-bytes", 1),
    "h2-length-wrong": ("bad-frame", 1),
    "h2-field-in-capitals": ("bad-frame", 1),
    "h2-head-bomb": ("bad-frame", 1),
    "h2-continuation-flood": ("control-frames", 1),
    "h2-ping-flood": ("control-frames", 1),
    "h2-settings-flood": ("control-frames", 1),
    "h2-empty-data-flood": ("control-frames", 1),
}


def test_each_has_a_row() -> None:
    assert set(ENDS) == {name for name, entry in CATALOGUE.items() if entry.role is Role.HTTP2}


@pytest.mark.parametrize("name", ENDS)
@ensureDeferred
async def test_client(name: str) -> None:
    reason, connections = ENDS[name]
    peer = serve(reactor, name)
    agent = Agent(reactor, LIMITS, http2_prior_knowledge=True)
    failed: Any = None
    body = BytesBody(b"x" * 100_000) if name == "h2-window-shut" else None
    try:
        response = await agent.request(b"POST" if body else b"GET", peer.url.encode(), None, body)
        assert await readBody(response) == b"hello"
    except Exception as error:
        failed = reason_of(error)

    assert failed == reason
    assert peer.connections.ever == connections
    for _ in range(500):
        if not agent.ledger.snapshot()["connections"]:
            break
        await deferLater(reactor, 0.005)
    left = {kind: amount for kind, amount in agent.ledger.snapshot().items() if amount}
    assert left == {}
    await agent.close()
    await peer.stop()
