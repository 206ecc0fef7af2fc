"""The example for Scrapy, run as its reader would: through a tunnel, and where there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from hardhttp.client import Proxy
from hardhttp.testing.misbehaving import serve
from tests.client.trust import Trust
from tests.twistd_process import ENVIRONMENT, ROOT

pytestmark = pytest.mark.slow


def crawl(trust: Trust, url: str, proxy: str) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "scrapy_handler.py"), url, *([proxy] if proxy else [])],
        env={**ENVIRONMENT, "SSL_CERT_FILE": str(trust.authority.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


@pytest.mark.parametrize("tls", [False, True])
@ensureDeferred
async def test_directly(tls: bool, tmp_path: Path) -> None:
    trust = Trust(tmp_path)
    origin = serve(reactor, "sound", context=trust.server if tls else None)
    said = await deferToThread(crawl, trust, origin.url, "")
    assert said == f"200 5 bytes of {origin.url}\n"
    await origin.stop()


@ensureDeferred
async def test_through_a_tunnel(tmp_path: Path) -> None:
    trust = Trust(tmp_path)
    origin, proxy = serve(reactor, "sound", context=trust.server), serve(reactor, "tunnel")
    url = proxy.url.replace("://", "://user:hunter2@")
    said = await deferToThread(crawl, trust, origin.url, url)
    assert said == f"200 5 bytes of {origin.url}\n"
    assert proxy.requests[-1].get(b"proxy-authorization") == Proxy.parse(url).authorization
    assert all(asked.get(b"proxy-authorization") is None for asked in origin.requests)
    await proxy.stop()
    await origin.stop()


@ensureDeferred
async def test_refused_tunnel(tmp_path: Path) -> None:
    """The proxy holds the socket; ours is closed all the same, and Scrapy ends."""
    trust = Trust(tmp_path)
    proxy = serve(reactor, "connect-407-held")
    said = await deferToThread(crawl, trust, "https://127.0.0.1:9/", proxy.url)
    assert said.startswith("failed: proxy-refused: no tunnel through http://127.0.0.1")
    while proxy.connections.open:
        await deferLater(reactor, 0.01)
    await proxy.stop()
