"""``proxy_for`` beside curl itself: whom they ask is the same."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from hardhttp.client.proxies import proxy_for
from hardhttp.testing.misbehaving import Conversation, answer, serve

pytestmark = pytest.mark.slow

CLEAN = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
# The environment, where P is the proxy's URL, and the host that is asked.
ROWS: list[tuple[dict[str, str], str]] = [
    ({"http_proxy": "P"}, "example.com"),
    ({"http_proxy": "P"}, "127.0.0.1"),
    ({"http_proxy": "P"}, "localhost"),
    ({"https_proxy": "P"}, "example.com"),
    ({"all_proxy": "P"}, "example.com"),
    ({"ALL_PROXY": "P"}, "example.com"),
    ({"http_proxy": "", "all_proxy": "P"}, "example.com"),
    ({"HTTP_PROXY": "P", "REQUEST_METHOD": "GET"}, "example.com"),
    *(
        ({"http_proxy": "P", "no_proxy": excepted}, host)
        for excepted in (
            *(
                "*",
                "example.com",
                ".example.com",
                "com",
                "EXAMPLE.COM",
                "a, example.com",
                "a b example.com",
                "ample.com",
            ),
            *("127.0.0.1", "127.0.0.0/8", "127.0.0.1/32", "10.0.0.0/8", "example.com.", "", ","),
        )
        for host in ("example.com", "a.example.com", "127.0.0.1", "badexample.com")
    ),
]


async def says_proxy(talk: Conversation) -> None:
    await talk.request()
    talk.send(answer(b"proxy"))


async def says_origin(talk: Conversation) -> None:
    await talk.request()
    talk.send(answer(b"origin"))


def curl(environ: dict[str, str], host: str, port: int) -> str:
    words = ["curl", "-s", "-m", "10", "--resolve", f"*:{port}:127.0.0.1", f"http://{host}:{port}/"]
    return subprocess.run(words, env={**CLEAN, **environ}, capture_output=True, text=True, check=True).stdout


@ensureDeferred
async def test_as_curl_does() -> None:
    proxy, origin = serve(reactor, says_proxy), serve(reactor, says_origin)
    differing: list[Any] = []
    for row, host in ROWS:
        environ = {name: proxy.url if value == "P" else value for name, value in row.items()}
        ours = "origin" if proxy_for("http", host, origin.port, environ) is None else "proxy"
        curls = await deferToThread(curl, environ, host, origin.port)
        if ours != curls:
            differing.append((row, host, ours, curls))
    await proxy.stop()
    await origin.stop()
    assert differing == []
