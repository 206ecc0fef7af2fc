"""What a sound client does with each misbehaving peer, ``hardhttp.client.Agent`` does; and it holds nothing then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.web.iweb import IAgent

from hardhttp.client import Agent, ClientLimits, HTTPClient, RedirectAgent
from tests.client.table import ROWS
from tests.client.trial import MIB, Kind, Row, Trial
from tests.client.trust import Trust

# Short enough for a row, and long enough for two busy cores.
SHORT_SECONDS = 0.2
LIMITS = ClientLimits(
    proxy_seconds=SHORT_SECONDS,
    tls_seconds=SHORT_SECONDS * 2,
    first_byte_seconds=SHORT_SECONDS,
    body_idle_seconds=SHORT_SECONDS,
    unread_seconds=SHORT_SECONDS,
    max_body_bytes=MIB,
    max_decoded_bytes=MIB,
    max_connections=20,
)


def make(trust: Trust, proxy: str | None) -> IAgent:
    return Agent(reactor, LIMITS, trust_root=trust.root, proxy=proxy)


async def close(agent: Any) -> None:
    await agent.close()
    left = {kind: amount for kind, amount in agent.ledger.snapshot().items() if amount}
    assert left == {}


OURS = Kind("ours", make, close, patience_turns=1500, redirecting=RedirectAgent, decoding=HTTPClient)


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=row.name, marks=[pytest.mark.slow] if row.slow else []) for row in ROWS]
)
@ensureDeferred
async def test_client(row: Row, tmp_path: Path) -> None:
    trial = Trial(OURS, Trust(tmp_path))
    try:
        assert await row.measure(trial) == row.sound
    finally:
        await trial.end()
